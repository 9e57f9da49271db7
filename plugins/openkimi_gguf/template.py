"""Renders a conversation with the model's own chat template, users' text kept apart from its markers.

Every text of a message stands as a placeholder while the template runs and is put in its place
afterwards, so a template can neither be steered by it nor make markers of it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import structlog

from openkimi import Message, RequestError, Tool
from openkimi_gguf.conversation import ADAPTATIONS, SPELLED, rename_developer, spell_out_tools
from openkimi_gguf.dialect import HERMES, dialect_of
from openkimi_gguf.pieces import Piece
from openkimi_gguf.tools import as_dict, describe_tools

_log = structlog.get_logger("openkimi_gguf")

# Training-time blocks of Hugging Face templates; they print what they hold.
_GENERATION_BLOCK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
# White space that no template writes: it shows whether a template trimmed or quoted what it was given.
_EDGE = "\x1f"
_EDGE_PATTERN = r"\x1f|\\u001f"
# A text that can be no marker, whatever stands around it; templates look at the types in a tool's schema.
_HARMLESS = re.compile(r"[A-Za-z0-9_ ,.-]*")
_PROBE = Tool(name="openkimi_probe")


class TemplateError(Exception):
    """The template refuses the conversation, or leaves a part of it out."""


class ChatTemplate:
    """A chat template; ``source`` None or broken gives a plain ``User:``/``Assistant:`` transcript.

    ``stop`` holds sequences that end an answer beside the model's own end tokens, ``dialect`` is how the
    model calls functions: as its template shows it, else as it is told in the system's words.
    """

    def __init__(self, source: str | None, *, bos: str = "", eos: str = "") -> None:
        self._template = _compile(source) if source else None
        self._variables = {"bos_token": bos, "eos_token": eos}
        self.stop: tuple[str, ...] = () if self._template else ("\nUser:", "\nSystem:")
        dialect = dialect_of(source or "")
        self._shows_tools = dialect is not None and self._takes_tools()
        self.dialect = dialect if dialect is not None and self._shows_tools else HERMES

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[Piece]:
        """Render the conversation, and the tools offered, up to where the assistant begins to speak.

        What the template refuses is told differently: the system's words at the front or inside the
        user's first message, tool calls and results as text, neighbours of one role as one message.

        Raises:
            RequestError: the template takes the conversation in none of these forms.
        """
        reason = ""
        messages = rename_developer(messages)
        adaptations, shown = ADAPTATIONS, tools
        if tools and not self._shows_tools:
            messages, adaptations, shown = describe_tools(messages, tools), SPELLED, ()
        if self._template is None:
            return _transcript(spell_out_tools(messages))
        for adaptation in adaptations:
            adapted = messages
            for step in adaptation:
                adapted = step(adapted)
            try:
                return self._render(adapted, shown)
            except TemplateError as error:
                reason = reason or str(error)
        raise RequestError(f"the model's chat template refuses this conversation: {reason}", param="messages")

    def _takes_tools(self) -> bool:
        try:
            pieces = self._render([Message(role="user", content="?")], [_PROBE]) if self._template else []
        except TemplateError:
            return False
        return any(_PROBE.name in piece.text for piece in pieces)

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[Piece]:
        placeholders = Placeholders()
        conversation = [_as_dict(message, placeholders) for message in messages]
        functions = [as_dict(tool, placeholders.maybe) for tool in tools]
        assert self._template is not None
        try:
            text = self._template.render(
                messages=conversation, add_generation_prompt=True, tools=functions or None, **self._variables
            )
        except TemplateError:
            raise
        except Exception as error:  # a template is a program: it may raise anything
            raise TemplateError(f"{type(error).__name__}: {error}") from error
        return placeholders.fill(text)


class Placeholders:
    """Stand-ins for texts, and what to put in their places."""

    def __init__(self) -> None:
        self._nonce = "t" + secrets.token_hex(8)
        self._texts: list[str] = []
        self._json: set[int] = set()
        self._needed: set[int] = set()

    def text(self, text: str) -> str:
        """Stand in for a text; an empty one stands for itself."""
        if not text:
            return ""
        self._needed.add(len(self._texts))
        return self._stand_in(text)

    def maybe(self, text: str) -> str:
        """Stand in for a text that a template may leave out; a harmless one stands for itself."""
        return text if _HARMLESS.fullmatch(text) else self._stand_in(text)

    def _stand_in(self, text: str) -> str:
        self._texts.append(text)
        return f"{_EDGE}{self._nonce}n{len(self._texts) - 1}e{_EDGE}"

    def json(self, text: str) -> str:
        """Stand in for JSON text, which takes its place without the quotes of a JSON string."""
        self._json.add(len(self._texts))
        return self.text(text or "{}")

    def fill(self, rendered: str) -> list[Piece]:
        """Cut the rendered text at the placeholders and put the texts in.

        Raises:
            TemplateError: a text that has to appear does not.
        """
        pieces, end, seen = [], 0, set()
        for match in self._pattern().finditer(rendered):
            index = int(match["index"])
            seen.add(index)
            whole = index in self._json and match[0][0] == match[0][-1] == '"'
            start, stop = match.span() if whole else match.span("body")
            pieces.append(Piece(rendered[end:start], from_template=True))
            pieces.append(Piece(self._text_for(index, match), from_template=False))
            end = stop
        if not self._needed <= seen:
            raise TemplateError("it leaves a message out")
        pieces.append(Piece(rendered[end:], from_template=True))
        return [piece for piece in pieces if piece.text]

    def _pattern(self) -> re.Pattern[str]:
        name = f"{self._nonce}n(?P<index>\\d+)e"
        return re.compile(f'"?(?P<body>(?P<left>{_EDGE_PATTERN})?{name}(?P<right>{_EDGE_PATTERN})?)"?')

    def _text_for(self, index: int, match: re.Match[str]) -> str:
        text = self._texts[index]
        if index in self._json:
            return text
        if not match["left"]:
            text = text.lstrip()
        if not match["right"]:
            text = text.rstrip()
        quoted = len(match["left"] or match["right"] or "") > 1
        return json.dumps(text, ensure_ascii=False)[1:-1] if quoted else text


def _as_dict(message: Message, placeholders: Placeholders) -> dict[str, Any]:
    """Shape a message as Hugging Face's chat templates expect it."""
    shaped: dict[str, Any] = {"role": message.role, "content": placeholders.text(message.text)}
    if message.name:
        shaped["name"] = placeholders.maybe(message.name)
    if message.tool_call_id:
        shaped["tool_call_id"] = placeholders.maybe(message.tool_call_id)
    if message.tool_calls:
        shaped["tool_calls"] = [
            {
                "id": placeholders.maybe(call.id),
                "type": "function",
                "function": {
                    "name": placeholders.text(call.name),
                    "arguments": placeholders.json(call.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return shaped


def _compile(source: str) -> Any:
    from jinja2 import TemplateSyntaxError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(_GENERATION_BLOCK.sub("", source))
    except TemplateSyntaxError as error:
        _log.warning("chat_template_unusable", line=error.lineno, reason=error.message)
        return None


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as ``tojson`` of Hugging Face's templates does; users' texts stay as they are."""
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().astimezone().strftime(format)


def _transcript(messages: Sequence[Message]) -> list[Piece]:
    """Write a transcript for a model that was never taught a chat format."""
    pieces = []
    for message in messages:
        pieces.append(Piece(f"{message.role.capitalize()}: ", from_template=True))
        pieces.append(Piece(message.text.strip() + "\n\n", from_template=False))
    return [*pieces, Piece("Assistant:", from_template=True)]
