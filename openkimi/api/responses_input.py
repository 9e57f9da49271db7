"""From the input items of a response to the messages of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from openkimi.api.responses_request import InputItem, InputPart, ResponsesRequest
from openkimi.citations import Citation
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import ImagePart, Message, Part, TextPart, ToolCall
from openkimi.path_receipt import MprReceipt, Quote
from openkimi.receipt import Passage, Receipt

T = TypeVar("T")
P = TypeVar("P", Passage, Citation, Quote)

_TEXTS = frozenset({"input_text", "output_text", "text"})


class Conversation:
    """The messages that a request's instructions and items make, in order.

    ``items`` has for each message the number of the item it came from, None for the instructions.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.items: list[int | None] = []
        self._calls: set[str] = set()

    @classmethod
    def of(cls, body: ResponsesRequest) -> Conversation:
        """Read a request's instructions and items.

        Raises:
            RequestError: there are none, or one cannot be served; ``param`` names it.
        """
        made = cls()
        if body.instructions:
            made._say(Message(role="system", content=body.instructions), None)
        for at, item in enumerate(_items(body)):
            made._add(item, at)
        if not any(item is not None for item in made.items):
            raise RequestError("'input' holds nothing to answer", param="input", code="invalid_value")
        return made

    def receipt(self, receipt: Receipt) -> Receipt:
        """Name in a receipt the items that passages and quotes came from, not the messages made of them."""
        return msgspec.structs.replace(
            receipt,
            passages=tuple(map(self._placed, receipt.passages)),
            citations=tuple(map(self._placed, receipt.citations)),
            mpr=tuple(map(self._reasoned, receipt.mpr)),
        )

    def _reasoned(self, reasoned: MprReceipt) -> MprReceipt:
        paths = (
            msgspec.structs.replace(path, supported_by=tuple(map(self._placed, path.supported_by)))
            for path in reasoned.candidates
        )
        return msgspec.structs.replace(reasoned, candidates=tuple(paths))

    def _placed(self, passage: P) -> P:
        if passage.message is None:
            return passage
        return msgspec.structs.replace(passage, message=self.items[passage.message])

    def _add(self, item: InputItem, at: int) -> None:
        where = f"input[{at}]"
        match item.type or _guess(item):
            case "message":
                self._say(_message(item, where), at)
            case "function_call":
                self._call(_call(item, where), at)
            case "function_call_output":
                self._say(self._result(item, where), at)
            case "reasoning":
                return
            case "item_reference":
                raise UnsupportedParameter(
                    f"'{where}' refers to a stored item, and nothing is stored here: send the item itself, "
                    "as clients do that are told 'store': false",
                    param=where,
                )
            case other:
                message = f"'{where}.type': items of type '{other}' cannot be served"
                raise UnsupportedParameter(message, param=f"{where}.type")

    def _say(self, message: Message, at: int | None) -> None:
        self.messages.append(message)
        self.items.append(at)

    def _call(self, call: ToolCall, at: int) -> None:
        """Put a call into the message before it, where that is the model's own."""
        self._calls.add(call.id)
        if not self.messages or self.messages[-1].role != "assistant":
            self._say(Message(role="assistant", tool_calls=(call,)), at)
            return
        last = self.messages[-1]
        self.messages[-1] = msgspec.structs.replace(last, tool_calls=(*last.tool_calls, call))

    def _result(self, item: InputItem, where: str) -> Message:
        call_id = _required(item.call_id, f"{where}.call_id")
        if call_id not in self._calls:
            raise RequestError(
                f"'{where}' answers the call '{call_id}', which is not in 'input': send the 'function_call' "
                "item before it",
                param=f"{where}.call_id",
                code="invalid_value",
            )
        if isinstance(item.output, dict):
            message = f"'{where}.output': Expected 'str | array', got 'object'"
            raise RequestError(message, param=f"{where}.output", code="invalid_value")
        content = _content(item.output, f"{where}.output")
        return Message(role="tool", content=content, tool_call_id=call_id)


def _items(body: ResponsesRequest) -> Sequence[InputItem]:
    if body.input is None or isinstance(body.input, str):
        return [InputItem(role="user", content=body.input or "")]
    return body.input


def _guess(item: InputItem) -> str:
    """Tell the type of an item that leaves it out, as messages and references may."""
    return "message" if item.role is not None or item.id is None else "item_reference"


def _message(item: InputItem, where: str) -> Message:
    return Message(
        role=_required(item.role, f"{where}.role"), content=_content(item.content, f"{where}.content")
    )


def _call(item: InputItem, where: str) -> ToolCall:
    if isinstance(item.arguments, dict):
        message = f"'{where}.arguments': Expected 'str', got 'object'"
        raise RequestError(message, param=f"{where}.arguments", code="invalid_value")
    return ToolCall(
        id=_required(item.call_id, f"{where}.call_id"),
        name=_required(item.name, f"{where}.name"),
        arguments=_required(item.arguments, f"{where}.arguments"),
    )


def _content(content: str | list[InputPart] | None, where: str) -> str | tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return _required(content, where)
    parts = tuple(_part(part, f"{where}[{at}]") for at, part in enumerate(content))
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return "\n\n".join(texts) if len(texts) == len(parts) else parts


def _part(part: InputPart, where: str) -> Part:
    if part.type in _TEXTS:
        return TextPart(text=_required(part.text, f"{where}.text"))
    if part.type == "refusal":
        return TextPart(text=_required(part.refusal, f"{where}.refusal"))
    if part.type == "input_image" and part.image_url is not None:
        return ImagePart(url=part.image_url, detail=part.detail)
    if part.type == "input_image":
        message = f"'{where}.image_url' is required: no files are stored here, so none can be named"
        raise UnsupportedParameter(message, param=f"{where}.image_url")
    raise UnsupportedParameter(
        f"'{where}.type': a part of type '{part.type}' cannot be served", param=f"{where}.type"
    )


def _required(value: T | None, where: str) -> T:
    if value is None:
        raise RequestError(f"'{where}' is required", param=where, code="missing_required_parameter")
    return value
