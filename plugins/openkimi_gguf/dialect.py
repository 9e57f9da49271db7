"""How models write that they call functions: one dialect for each family of chat templates.

An answer with calls is ``first``, a call, then for each further one ``between`` and the call, then ``last``.
A call is ``before_name``, the name, ``after_name``, the arguments as JSON, ``after_arguments``. All of these
are texts with white space allowed between them; ``specials`` are those that may be tokens of their own.
``bare`` is the dialect of small models that begin an answer with a call and forget the markers, or write a
block of code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import msgspec

from openkimi_gguf.gbnf import Rules, literal

MOST_CALLS = 16
Texts = tuple[str, ...]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One way to write calls; where there are several tuples of texts, each is one way to begin."""

    first: tuple[Texts, ...]
    before_name: tuple[Texts, ...]
    after_name: Texts
    after_arguments: Texts
    between: Texts | None
    last: Texts
    quoted: bool = True
    specials: Texts = ()
    bare: Dialect | None = None

    @property
    def marker(self) -> str:
        """The text that announces a call anywhere in an answer; empty where calls only begin one."""
        return "" if () in self.first else self.first[0][0]

    def openings(self, names: Iterable[str]) -> list[str]:
        """List how an answer begins that is a call, white space left out, for a dialect without a marker."""
        return [
            "".join((*first, *before, self.name(name))).translate(_NO_SPACE)
            for first in self.first
            for before in self.before_name
            for name in names
        ]

    def name(self, name: str) -> str:
        """Write a function's name."""
        return json.dumps(name, ensure_ascii=False) if self.quoted else name

    def head(self, names: Iterable[str]) -> re.Pattern[str]:
        """Match from where calls begin to the first one's arguments."""
        return re.compile(rf"\s*{_any(self.first)}\s*{self._call_head(names)}")

    def further(self, names: Iterable[str]) -> re.Pattern[str]:
        """Match from the end of one call's arguments to the next one's."""
        between = _spaced((*self.after_arguments, *(self.between or ())))
        return re.compile(rf"\s*{between}\s*{self._call_head(names)}" if self.between is not None else "(?!)")

    @property
    def end(self) -> re.Pattern[str]:
        """Match from the end of the last call's arguments to the end of the calls."""
        fence = f"(?:{_FENCE})?" if any(_FENCE in "".join(first) for first in self.first) else ""
        return re.compile(rf"\s*{_spaced(self.after_arguments)}\s*{_spaced(self.last)}\s*{fence}\s*")

    def grammar(self, rules: Rules, tools: Sequence[tuple[str, str]], most: int) -> str:
        """Write the grammar of one to ``most`` calls of tools, each a name with the rule of its arguments."""
        ws = rules.primitive("ws")
        calls = [self._call(rules, name, arguments) for name, arguments in tools]
        call = rules.add(" | ".join(calls))
        first = " | ".join(_literals(first, ws) or '""' for first in self.first)
        last = _literals(self.last, ws)
        more = ""
        if self.between is not None and most > 1:
            item = rules.add(f"{_literals(self.between, ws)} {ws} {call} {ws}")
            more = rules.repeat(item, 0, most - 1)
        return rules.add(f"{ws} ({first}) {ws} {call} {ws} {more} {last}")

    def _call(self, rules: Rules, name: str, arguments: str) -> str:
        ws = rules.primitive("ws")
        before = rules.add(" | ".join(_literals(before, ws) or '""' for before in self.before_name))
        after_name, after = _literals(self.after_name, ws), _literals(self.after_arguments, ws)
        return rules.add(
            f"{before} {ws} {literal(self.name(name))} {ws} {after_name} {ws} {arguments} {ws} {after}"
        )

    def _call_head(self, names: Iterable[str]) -> str:
        written = sorted((re.escape(self.name(name)) for name in names), key=len, reverse=True)
        before, after = _any(self.before_name), _spaced(self.after_name)
        return rf"{before}\s*(?P<name>{'|'.join(written)})\s*{after}\s*(?=\{{)"


_NO_SPACE = {ord(space): None for space in " \t\r\n"}

_FENCE = "```"
_BARE = Dialect(
    first=((), (_FENCE + "json",)),
    before_name=(("{", '"name"', ":"),),
    after_name=(",", '"arguments"', ":"),
    after_arguments=("}",),
    between=None,
    last=(),
)

HERMES = Dialect(
    first=(("<tool_call>",),),
    before_name=(("{", '"name"', ":"),),
    after_name=(",", '"arguments"', ":"),
    after_arguments=("}",),
    between=("</tool_call>", "<tool_call>"),
    last=("</tool_call>",),
    specials=("<tool_call>", "</tool_call>"),
    bare=_BARE,
)
"""Hermes 2 Pro, Qwen 2.5 and 3 and many others; also for models that were taught none."""

LLAMA = Dialect(
    first=((), ("<|python_tag|>",)),
    before_name=(("{", '"name"', ":"), ("{", '"type"', ":", '"function"', ",", '"name"', ":")),
    after_name=(",", '"parameters"', ":"),
    after_arguments=("}",),
    between=None,
    last=(),
    specials=("<|python_tag|>",),
)
"""Llama 3.1, 3.2 and 3.3: the whole answer is one call."""

MISTRAL = Dialect(
    first=(("[TOOL_CALLS]", "["),),
    before_name=(("{", '"name"', ":"),),
    after_name=(",", '"arguments"', ":"),
    after_arguments=("}",),
    between=(",",),
    last=("]",),
    specials=("[TOOL_CALLS]",),
)
"""Mistral's models with the tokenizers v3 to v7: a list of calls."""

MISTRAL_ARGS = Dialect(
    first=(("[TOOL_CALLS]",),),
    before_name=((),),
    after_name=("[ARGS]",),
    after_arguments=(),
    between=("[TOOL_CALLS]",),
    last=(),
    quoted=False,
    specials=("[TOOL_CALLS]", "[ARGS]"),
)
"""Mistral's models since the tokenizer v11."""


def dialect_of(template: str) -> Dialect | None:
    """Tell how a model writes calls by its chat template, None where that is not known."""
    if "[TOOL_CALLS]" in template:
        return MISTRAL_ARGS if "[ARGS]" in template else MISTRAL
    if "<tool_call>" in template and "<function=" not in template and '"arguments"' in _unescaped(template):
        return HERMES
    if "<|start_header_id|>" in template and '"parameters"' in _unescaped(template):
        return LLAMA
    return None


def _unescaped(template: str) -> str:
    return template.replace('\\"', '"')


def _spaced(texts: Texts) -> str:
    return r"\s*".join(map(re.escape, texts))


def _any(several: tuple[Texts, ...]) -> str:
    return f"(?:{'|'.join(map(_spaced, sorted(several, key=len, reverse=True)))})"


def _literals(texts: Texts, ws: str) -> str:
    return f" {ws} ".join(map(literal, texts))
