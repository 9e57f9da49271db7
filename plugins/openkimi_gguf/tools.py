"""Shows a model the functions that it may call: through its template, or in the system's words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openkimi import Message, Tool
from openkimi_gguf.form import NO_PARAMETERS

_HOW = """# Tools

You may call functions to help with the user's request. These are the functions, each as JSON:
<tools>
{tools}
</tools>

To call a function, answer with its name and its arguments as JSON between <tool_call> and </tool_call>:
<tool_call>
{{"name": <function-name>, "arguments": <arguments-as-json-object>}}
</tool_call>"""


def as_dict(tool: Tool, text: Callable[[str], str]) -> dict[str, Any]:
    """Shape a tool as Hugging Face's chat templates expect it, each of its texts changed by ``text``."""
    function: dict[str, Any] = {"name": text(tool.name)}
    if tool.description:
        function["description"] = text(tool.description)
    function["parameters"] = _changed(tool.parameters or NO_PARAMETERS, text)
    return {"type": "function", "function": function}


def describe_tools(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    """Tell of the tools behind the first words of the system, for templates that do not."""
    listed = "\n".join(json.dumps(as_dict(tool, str)["function"], ensure_ascii=False) for tool in tools)
    told = _HOW.format(tools=listed)
    at = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    before = "\n\n".join(message.text for message in messages[:at])
    whole = Message(role="system", content=f"{before}\n\n{told}" if before else told)
    return [whole, *messages[at:]]


def _changed(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {text(str(key)): _changed(each, text) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(each, text) for each in value]
    return value
