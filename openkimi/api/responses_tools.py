"""The function tools of a response, and the choice among them."""

from __future__ import annotations

from openkimi.api import responses_request as wire
from openkimi.api.tool_choice import allowed, mode_choice, named_choice, refuse_other_kinds
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import Tool, ToolChoice


def tools_of(body: wire.ResponsesRequest) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Convert ``tools`` and ``tool_choice``; tools that are not allowed this time are left out.

    Raises:
        RequestError: the choice is for a tool that is not there.
        UnsupportedParameter: a tool is no function.
    """
    tools = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(body.tools or ()))
    choice = body.tool_choice
    if not isinstance(choice, wire.ToolChoice):
        return tools, mode_choice(choice, tools)
    if choice.type == "function":
        return tools, named_choice(choice.name or "", tools, "tool_choice.name")
    if choice.type == "allowed_tools":
        tools = allowed(_names(choice), tools, "tool_choice.tools")
        return tools, mode_choice(choice.mode or None, tools)
    raise UnsupportedParameter(
        f"'tool_choice.type': 'function' and 'allowed_tools' only, got '{choice.type[:100]}'",
        param="tool_choice.type",
    )


def _tool(tool: wire.FunctionTool, where: str) -> Tool:
    refuse_other_kinds(tool.type, where)
    if not tool.name:
        where = f"{where}.name"
        raise RequestError(f"'{where}' is required", param=where, code="missing_required_parameter")
    return Tool(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)


def _names(choice: wire.ToolChoice) -> dict[str, str]:
    names = {}
    for at, tool in enumerate(choice.tools or ()):
        where = f"tool_choice.tools[{at}]"
        refuse_other_kinds(tool.type, where)
        names[f"{where}.name"] = tool.name or ""
    return names
