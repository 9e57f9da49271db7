"""Runs one request on a backend, and makes up for what the backend leaves out."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from openkimi.budget import seal
from openkimi.contracts import Backend, Feature
from openkimi.errors import UnsupportedParameter
from openkimi.messages import Delta, GenerateRequest, ImagePart, Message, Usage
from openkimi.stopping import StopFilter, TokenFilter
from openkimi.streams import closing

_NOTHING = Delta()


def refuse_unserved(request: GenerateRequest, backend: Backend) -> None:
    """Refuse a request for something that the backend cannot do and that would change the answer.

    Raises:
        UnsupportedParameter: names the parameter.
    """
    for feature, parameter in _wanted(request):
        if feature not in backend.features:
            what = "images in 'messages'" if feature == "images" else f"'{parameter}'"
            raise UnsupportedParameter(
                f"the configured model cannot serve {what}: leave it out, or choose another llm.type",
                param=parameter,
            )


async def generate(
    backend: Backend, request: GenerateRequest, *, prompt_tokens: int, window: int
) -> AsyncGenerator[Delta, None]:
    """Answer a request whose prompt has been counted; the last delta has finish reason and usage.

    ``stop`` is emulated for a backend without that feature, usage is counted where it gives none.

    Raises:
        ContextOverflow: the prompt leaves no room for an answer.
        BackendError: the backend failed.
    """
    sealed = seal(backend, request, prompt_tokens=prompt_tokens, window=window)
    emulated = () if "stop" in backend.features else sealed.stop
    if emulated:
        sealed = msgspec.structs.replace(sealed, stop=())
    stop, tokens, written = StopFilter(emulated), TokenFilter(), list[str]()
    last = Delta(finish_reason="stop")
    async with closing(backend.generate(sealed)) as deltas:
        async for delta in deltas:
            text = stop.feed(delta.content) if emulated else delta.content
            written.append(text)
            ends = delta.finish_reason is not None or delta.usage is not None
            last = delta if ends else last
            shown = delta
            if ends or emulated:
                shown = msgspec.structs.replace(delta, content=text, finish_reason=None, usage=None)
            if emulated and request.logprobs:
                shown = msgspec.structs.replace(shown, logprobs=tokens.feed(delta.logprobs, text))
            if shown != _NOTHING:
                yield shown
            if stop.stopped:
                break
    if held := stop.flush():
        written.append(held)
        yield Delta(content=held, logprobs=tokens.feed((), held))
    usage = last.usage or await _count(backend, prompt_tokens, "".join(written))
    yield Delta(finish_reason=last.finish_reason or "stop", usage=usage)


async def _count(backend: Backend, prompt_tokens: int, text: str) -> Usage:
    [completion] = await backend.count_tokens([text])
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion)


def _wanted(request: GenerateRequest) -> list[tuple[Feature, str]]:
    """List the features a request needs, each with the parameter that asks for it."""
    wanted: list[tuple[Feature, str]] = []
    if request.logprobs:
        wanted.append(("logprobs", "logprobs"))
    if request.tools and request.tool_choice.mode != "none":
        wanted.append(("tools", "tools"))
    if request.response_format.type != "text":
        wanted.append(("response_format", "response_format"))
    if request.logit_bias:
        wanted.append(("logit_bias", "logit_bias"))
    if request.presence_penalty or request.frequency_penalty:
        name = "presence_penalty" if request.presence_penalty else "frequency_penalty"
        wanted.append(("penalties", name))
    if request.suffix:
        wanted.append(("suffix", "suffix"))
    if any(_has_image(message) for message in request.messages):
        wanted.append(("images", "messages"))
    return wanted


def _has_image(message: Message) -> bool:
    return not isinstance(message.content, str) and any(
        isinstance(part, ImagePart) for part in message.content
    )
