"""The function tools of a response, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi.api import responses_request as wire
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import Tool, ToolChoice


def tools_of(body: wire.ResponsesRequest) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Convert the tools that the model may call and which of them it is to call.

    Raises:
        RequestError: a tool is no function, or the choice names one that is not there.
    """
    tools = tuple(_tool(tool, at) for at, tool in enumerate(body.tools or ()))
    choice = body.tool_choice or "auto"
    if isinstance(choice, str):
        return tools, _mode(choice, tools)
    if choice.type == "function":
        name = choice.name or ""
        _known(name, tools, "tool_choice.name")
        return tools, ToolChoice(mode="named", name=name)
    if choice.type == "allowed_tools":
        tools = _allowed(tools, choice)
        return tools, _mode(choice.mode or "auto", tools)
    raise UnsupportedParameter(
        f"'tool_choice.type': 'function' and 'allowed_tools' only, got '{choice.type}'",
        param="tool_choice.type",
    )


def _tool(tool: wire.FunctionTool, at: int) -> Tool:
    if tool.type != "function":
        where = f"tools[{at}].type"
        raise UnsupportedParameter(f"'{where}': function tools only, got '{tool.type}'", param=where)
    if not tool.name:
        where = f"tools[{at}].name"
        raise RequestError(f"'{where}' is required", param=where, code="missing_required_parameter")
    return Tool(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)


def _mode(mode: str, tools: Sequence[Tool]) -> ToolChoice:
    if mode == "required" and not tools:
        raise RequestError("'tool_choice' is 'required', but there are no 'tools'", param="tool_choice")
    return ToolChoice(mode="none" if mode == "none" else "required" if mode == "required" else "auto")


def _allowed(tools: Sequence[Tool], choice: wire.ToolChoice) -> tuple[Tool, ...]:
    names = set()
    for at, tool in enumerate(choice.tools or ()):
        where = f"tool_choice.tools[{at}]"
        if tool.type != "function":
            raise UnsupportedParameter(f"'{where}.type': function tools only, got '{tool.type}'", param=where)
        _known(tool.name or "", tools, f"{where}.name")
        names.add(tool.name)
    return tuple(tool for tool in tools if tool.name in names)


def _known(name: str, tools: Sequence[Tool], where: str) -> None:
    if name not in {tool.name for tool in tools}:
        raise RequestError(f"'{where}' names '{name}', which is not in 'tools'", param=where)
