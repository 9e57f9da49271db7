"""The function tools of a chat, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi.api import schemas as wire
from openkimi.api.tool_choice import allowed, mode_choice, named_choice, refuse_other_kinds
from openkimi.errors import RequestError
from openkimi.messages import Tool, ToolChoice


def tools_of(body: wire.ChatCompletionRequest) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Convert ``tools`` and ``tool_choice``; tools that are not allowed this time are left out.

    Raises:
        RequestError: the choice is for a tool that is not there.
        UnsupportedParameter: a tool is no function.
    """
    tools = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(body.tools or ()))
    choice = body.tool_choice
    if not isinstance(choice, wire.ToolChoiceObject):
        return tools, mode_choice(choice, tools)
    if choice.type == "allowed_tools":
        return _allowed(tools, choice.allowed_tools)
    if choice.type == "function":
        return tools, named_choice(_name(choice.function, "tool_choice"), tools, "tool_choice")
    return tools, mode_choice(choice.type, tools)


def _tool(tool: wire.ToolDefinition, where: str) -> Tool:
    refuse_other_kinds(tool.type, where)
    if tool.function is None:
        raise _required(f"{where}.function")
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        strict=function.strict,
    )


def _allowed(tools: Sequence[Tool], choice: wire.AllowedTools | None) -> tuple[tuple[Tool, ...], ToolChoice]:
    if choice is None:
        raise _required("tool_choice.allowed_tools")
    where = "tool_choice.allowed_tools.tools"
    names = {f"{where}[{at}]": _named(tool, f"{where}[{at}]") for at, tool in enumerate(choice.tools)}
    kept = allowed(names, tools, where)
    return kept, mode_choice(choice.mode, kept)


def _named(tool: wire.NamedTool, where: str) -> str:
    refuse_other_kinds(tool.type or "function", where)
    return _name(tool.function, where)


def _name(function: wire.NamedFunction | None, where: str) -> str:
    if function is None:
        raise _required(f"{where}.function")
    return function.name


def _required(where: str) -> RequestError:
    return RequestError(f"'{where}' is required", param=where, code="missing_required_parameter")
