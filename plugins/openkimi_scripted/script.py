"""Decides what the scripted backend answers."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from openkimi import GenerateRequest, ToolCall
from openkimi_scripted.extract import extract
from openkimi_scripted.instance import minimal_instance
from openkimi_scripted.options import ScriptedOptions


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, before stop sequences and limits."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()


def compose(request: GenerateRequest, options: ScriptedOptions, prompt: str) -> Answer:
    """Choose the answer: tool calls, else the scripted reply, else an echo, else a sentence of the prompt."""
    calls = _calls(request, options, prompt)
    if calls:
        return Answer(reasoning=options.reasoning, calls=calls)
    return Answer(reasoning=options.reasoning, text=_text(request, options, prompt))


def settings_marker(request: GenerateRequest) -> str:
    """Name the settings that differ from their defaults, as `` [temperature=0.5 seed=7]``.

    ``seed`` and ``top_p`` have no effect at temperature 0 and are left out there.
    """
    settings: dict[str, Any] = {"temperature": request.temperature if request.temperature != 1 else None}
    if request.temperature > 0:
        settings["top_p"] = request.top_p if request.top_p != 1 else None
        settings["seed"] = request.seed
    settings["presence_penalty"] = request.presence_penalty or None
    settings["frequency_penalty"] = request.frequency_penalty or None
    settings["logit_bias"] = (
        ",".join(f"{token}:{bias:g}" for token, bias in request.logit_bias.items()) or None
    )
    settings["suffix"] = request.suffix
    shown = [f"{name}={_show(value)}" for name, value in settings.items() if value is not None]
    return f" [{' '.join(shown)}]" if shown else ""


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(request: GenerateRequest, options: ScriptedOptions, prompt: str) -> str:
    if options.reply is not None:
        return options.reply
    if options.echo:
        return prompt
    wanted = request.response_format
    if wanted.type == "json_schema":
        return msgspec.json.encode(minimal_instance(wanted.schema or {"type": "object"})).decode()
    answer = extract(request.messages) + settings_marker(request)
    answer = answer.encode("utf-8", "replace").decode()
    return msgspec.json.encode({"answer": answer}).decode() if wanted.type == "json_object" else answer


def _calls(request: GenerateRequest, options: ScriptedOptions, prompt: str) -> tuple[ToolCall, ...]:
    """Call the scripted ones of the tools offered; where there are none but a call is required, call one."""
    choice = request.tool_choice
    forced = choice.mode in ("required", "named")
    answered = bool(request.messages) and request.messages[-1].role == "tool"
    if not request.tools or choice.mode == "none" or (answered and not forced):
        return ()
    offered = {choice.name} if choice.name else {tool.name for tool in request.tools}
    scripted = [(call.name, call.arguments) for call in options.tool_calls if call.name in offered]
    if forced and not scripted:
        tool = next((tool for tool in request.tools if tool.name == choice.name), request.tools[0])
        scripted = [(tool.name, minimal_instance({**(tool.parameters or {}), "type": "object"}))]
    if request.parallel_tool_calls is False:
        scripted = scripted[:1]
    return tuple(
        ToolCall(id=_call_id(prompt, index), name=name, arguments=_arguments(arguments))
        for index, (name, arguments) in enumerate(scripted)
    )


def _arguments(arguments: dict[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _call_id(prompt: str, index: int) -> str:
    digest = hashlib.sha256(f"{index}\n{prompt}".encode("utf-8", "replace")).hexdigest()
    return f"call_{digest[:24]}"
