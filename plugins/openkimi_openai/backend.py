"""The backend that asks an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar, get_args

from openkimi import Backend, Delta, Feature, GenerateRequest
from openkimi_openai.answer import DONE, Answer
from openkimi_openai.client import Client
from openkimi_openai.estimate import Estimate
from openkimi_openai.options import DEFAULT_CONTEXT_LENGTH, CharactersPerToken, OpenAIOptions
from openkimi_openai.payload import encode_request
from openkimi_openai.sse import Event, EventParser

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
_INLINE = 20_000
_GRACE = 0.05


class OpenAIBackend(Backend):
    """Streams answers from a server; token counts are an estimate, see :class:`Estimate`.

    Every feature of chat completions is offered: what the server does not know it refuses itself, as an
    :class:`openkimi.UpstreamError`.
    """

    features = frozenset(get_args(Feature)) - {"suffix"}

    def __init__(self, client: Client, options: OpenAIOptions) -> None:
        self.concurrency = options.concurrency
        self._client = client
        self._options = options
        ratios = options.tokenizer
        self._estimate = Estimate(ratios if isinstance(ratios, CharactersPerToken) else CharactersPerToken())

    @property
    def context_window(self) -> int:
        """The option ``context_length``."""
        return self._options.context_length or DEFAULT_CONTEXT_LENGTH

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request; closing the iterator closes the connection to the server.

        Raises:
            BackendError: of the kind that :meth:`Client.post` tells, or the server failed in its answer.
        """
        answer = Answer(self._client.failure, self._client.address.host)
        payload = encode_request(request, self._options)
        async with (
            self._client.post("chat/completions", payload) as response,
            aclosing(read_events(response)) as events,
        ):
            async for event in events:
                delta = answer.take(event)
                if delta is not None:
                    yield delta
        yield answer.last()

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Estimate the tokens of a prompt."""
        size = sum(len(message.text) for message in request.messages)
        return await _off_loop(size, lambda: self._estimate.prompt(request))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Estimate the tokens of each text."""
        return await _off_loop(sum(map(len, texts)), lambda: [self._estimate.text(text) for text in texts])


async def read_events(response: aiohttp.ClientResponse) -> AsyncGenerator[Event, None]:
    """Read a response's events up to ``[DONE]``; an answer that is plain JSON is one event."""
    if response.content_type.endswith("json"):
        yield Event(data=(await response.read()).decode("utf-8", "replace"))
        return
    parser = EventParser()
    async for piece in response.content.iter_any():
        for event in parser.feed(piece):
            yield event
            if event.data.strip() == DONE:
                await _drain(response)
                return
    for event in parser.end():
        yield event


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of the response, so that its connection can be used again."""
    try:
        async with asyncio.timeout(_GRACE):
            while await response.content.readany():
                pass
    except TimeoutError:
        return


async def _off_loop(characters: int, work: Callable[[], T]) -> T:
    """Run short work here and long work in a thread."""
    return work() if characters < _INLINE else await asyncio.to_thread(work)
