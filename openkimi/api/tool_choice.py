"""Which of the tools of a request may or must be called, in chats and responses alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import Tool, ToolChoice

_LONGEST = 100


def mode_choice(mode: str | None, tools: Sequence[Tool]) -> ToolChoice:
    """Choose by mode; none is ``auto``.

    Raises:
        RequestError: a call is required, and there is nothing to call.
    """
    if mode == "required" and not tools:
        raise RequestError("'tool_choice' is 'required', but there are no 'tools'", param="tool_choice")
    return ToolChoice(mode="none" if mode == "none" else "required" if mode == "required" else "auto")


def named_choice(name: str, tools: Sequence[Tool], where: str) -> ToolChoice:
    """Choose one tool.

    Raises:
        RequestError: it is not there.
    """
    _find(name, tools, where)
    return ToolChoice(mode="named", name=name)


def allowed(names: Mapping[str, str], tools: Sequence[Tool], where: str) -> tuple[Tool, ...]:
    """Keep the tools that are named, each under the path of its name.

    Raises:
        RequestError: none is named, or one is not there.
    """
    if not names:
        raise RequestError(f"'{where}' names no tool", param=where)
    for path, name in names.items():
        _find(name, tools, path)
    return tuple(tool for tool in tools if tool.name in names.values())


def refuse_other_kinds(kind: str, where: str) -> None:
    """Refuse what is no function.

    Raises:
        UnsupportedParameter: names the tool's ``type``.
    """
    if kind != "function":
        where = f"{where}.type"
        raise UnsupportedParameter(f"'{where}': function tools only, got '{kind[:_LONGEST]}'", param=where)


def _find(name: str, tools: Sequence[Tool], where: str) -> None:
    if name not in {tool.name for tool in tools}:
        raise RequestError(f"'{where}' names '{name[:_LONGEST]}', which is not in 'tools'", param=where)
