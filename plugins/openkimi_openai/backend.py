"""The backend that asks an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar, get_args

from openkimi import Backend, Delta, Feature, GenerateRequest
from openkimi_openai.answer import Answer
from openkimi_openai.client import Client
from openkimi_openai.connection import Connection
from openkimi_openai.estimate import Estimate
from openkimi_openai.options import DEFAULT_CONTEXT_LENGTH, CharactersPerToken, OpenAIOptions
from openkimi_openai.payload import encode_request, is_streamed
from openkimi_openai.sse import EventParser, WholeParser

T = TypeVar("T")
_INLINE = 20_000
_GRACE = 0.05
_PATIENCE = 2.0
"""Times the timeout that an answer may take of which nothing shows before it is complete."""


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
        answer = Answer(self._client.failure, self._client.host)
        payload = encode_request(request, self._options)
        streamed = is_streamed(request, self._options)
        patience = 1.0 if streamed else _PATIENCE
        async with self._client.post("chat/completions", payload, patience=patience) as response:
            parser = EventParser() if is_stream(response, asked=streamed) else WholeParser()
            piece = b"?"
            while piece:
                piece = await response.piece()
                for event in parser.feed(piece) if piece else parser.end():
                    delta = answer.take(event)
                    if delta is not None:
                        yield delta
                if answer.done:
                    break
            await _drain(response)
        yield answer.last()

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Estimate the tokens of a prompt."""
        size = sum(len(message.text) for message in request.messages)
        return await _off_loop(size, lambda: self._estimate.prompt(request))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Estimate the tokens of each text."""
        return await _off_loop(sum(map(len, texts)), lambda: [self._estimate.text(text) for text in texts])


def is_stream(response: Connection, *, asked: bool) -> bool:
    """Tell whether an answer comes as events: some servers never stream, some do not say what they send."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "text/event-stream" or (asked and not kind.endswith("json"))


async def _drain(response: Connection) -> None:
    """Wait a moment for the end of the response, so that its connection can be used again."""
    if response.complete:
        return
    try:
        async with asyncio.timeout(_GRACE):
            while await response.piece():
                pass
    except TimeoutError:
        return


async def _off_loop(characters: int, work: Callable[[], T]) -> T:
    """Run short work here and long work in a thread."""
    return work() if characters < _INLINE else await asyncio.to_thread(work)
