"""Function tools and which of them may or must be called, from the wire to the domain."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi.api import schemas as wire
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import Tool, ToolChoice


def tools_of(body: wire.ChatCompletionRequest) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Convert ``tools`` and ``tool_choice``; tools that are not allowed this time are left out.

    Raises:
        RequestError: the choice is for a tool that is not there.
        UnsupportedParameter: a tool is no function.
    """
    tools = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(body.tools or ()))
    choice = body.tool_choice
    if isinstance(choice, wire.ToolChoiceObject) and choice.type == "allowed_tools":
        return _allowed(tools, choice)
    if isinstance(choice, wire.ToolChoiceObject) and choice.type == "function":
        name = _name(choice, "tool_choice")
        return tools, ToolChoice(mode="named", name=_known(name, tools, "tool_choice"))
    mode = choice.type if isinstance(choice, wire.ToolChoiceObject) else choice
    if mode == "required" and not tools:
        raise RequestError("'tool_choice' is 'required', but there are no 'tools'", param="tool_choice")
    return tools, ToolChoice(mode="none" if mode == "none" else "required" if mode == "required" else "auto")


def _tool(tool: wire.ToolDefinition, where: str) -> Tool:
    if tool.type != "function":
        raise UnsupportedParameter(
            f"'{where}.type': function tools only, got '{tool.type[:100]}'", param=f"{where}.type"
        )
    if tool.function is None:
        raise _required(f"{where}.function")
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description,
        parameters=function.parameters,
        strict=function.strict,
    )


def _allowed(tools: Sequence[Tool], choice: wire.ToolChoiceObject) -> tuple[tuple[Tool, ...], ToolChoice]:
    where = "tool_choice.allowed_tools"
    if choice.allowed_tools is None:
        raise _required(where)
    names = {
        _known(_name(named, f"{where}.tools[{at}]"), tools, f"{where}.tools[{at}]")
        for at, named in enumerate(choice.allowed_tools.tools)
    }
    if not names:
        raise RequestError(f"'{where}.tools' names no tool", param=f"{where}.tools")
    kept = tuple(tool for tool in tools if tool.name in names)
    return kept, ToolChoice(mode=choice.allowed_tools.mode)


def _name(named: wire.NamedTool | wire.ToolChoiceObject, where: str) -> str:
    if named.type != "function":
        raise UnsupportedParameter(f"'{where}.type': function tools only", param=f"{where}.type")
    if named.function is None:
        raise _required(f"{where}.function")
    return named.function.name


def _known(name: str, tools: Sequence[Tool], where: str) -> str:
    if name not in {tool.name for tool in tools}:
        raise RequestError(f"'{where}' names '{name[:100]}', which is not in 'tools'", param=where)
    return name


def _required(where: str) -> RequestError:
    return RequestError(f"'{where}' is required", param=where, code="missing_required_parameter")
