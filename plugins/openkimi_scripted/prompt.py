"""The scripted backend's chat template."""

from __future__ import annotations

import msgspec

from openkimi import GenerateRequest, ImagePart, Message


def render(request: GenerateRequest) -> str:
    """Render the prompt: the tools as JSON, then ``role: content`` and a line break for each message.

    A suffix stands as ``suffix: text`` at the end.
    """
    tools = msgspec.json.encode(request.tools).decode() + "\n" if request.tools else ""
    messages = "".join(f"{message.role}: {_content(message)}\n" for message in request.messages)
    return tools + messages + (f"suffix: {request.suffix}\n" if request.suffix is not None else "")


def _content(message: Message) -> str:
    images = () if isinstance(message.content, str) else message.content
    text = message.text + "".join(f" [image {part.url}]" for part in images if isinstance(part, ImagePart))
    calls = "".join(f" {call.name}({call.arguments})" for call in message.tool_calls)
    return text + calls
