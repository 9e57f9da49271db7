"""One answer on its way: the prompt is read, then tokens are written until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from openkimi import Delta, GenerateRequest, Usage
from openkimi_llama_cpp.context import Context, Stream
from openkimi_llama_cpp.generation import Prompt, Writer, writer_for
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.reading import Reading
from openkimi_llama_cpp.vocabulary import Logits


class Job:
    """An answer that the scheduler works on; those of one ``share`` belong to one caller's request.

    Whoever asked reads ``deltas`` up to a None, and finds an ``error`` there where it failed. ``done`` is set
    when nothing is held any more.
    """

    def __init__(
        self, model: Model, prompt: Prompt, request: GenerateRequest, options: LlamaCppOptions
    ) -> None:
        self.tokens = prompt.tokens
        self.reproducible = request.seed is not None or request.temperature <= 0
        self.cancelled = False
        self.share: Hashable = self if request.share is None else request.share
        self.token = -1
        self.deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        self.error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._model, self._prompt, self._request, self._options = model, prompt, request, options
        self._stream: Stream | None = None
        self._reading: Reading | None = None
        self._writer: Writer | None = None
        self._known = 0

    @property
    def stream(self) -> Stream:
        """The stream that was given to it."""
        assert self._stream is not None
        return self._stream

    @property
    def reading(self) -> bool:
        """Whether the prompt is not read to its end."""
        return self._reading is not None

    @property
    def read(self) -> int:
        """How many of its tokens the stream holds."""
        return len(self.stream.tokens)

    @property
    def unread(self) -> int:
        """How many of its tokens are left to read."""
        return len(self.tokens) - self.read

    @property
    def written(self) -> int:
        """How many tokens of the answer there are."""
        return 0 if self._writer is None else self._writer.written

    def begin(self, context: Context, stream: Stream) -> None:
        """Take a stream.

        Raises:
            RequestError: the response format makes no grammar.
        """
        self._writer = writer_for(self._model, self._prompt, self._request, self._options, self._show)
        self._stream = stream
        self._reading = Reading(context, stream, self.tokens, reproducible=self.reproducible)
        self._known = self._reading.known

    def read_on(self, most: int) -> bool:
        """Read up to ``most`` tokens more of the prompt; at its end choose the first token. True when done.

        Raises:
            Interrupted: the context was told to stop.
            BackendError: llama.cpp failed.
        """
        assert self._reading is not None
        logits = self._reading.logits
        if logits is None:
            logits = self._reading.step(most)
        if logits is None:
            return False
        self._reading = None
        return self.write(logits)

    def write(self, logits: Logits) -> bool:
        """Choose the next token; True when the answer is complete.

        Raises:
            BackendError: no token is left that the grammar allows.
        """
        assert self._writer is not None
        token = self._writer.next(logits)
        if token is not None:
            self.token = token
            return False
        usage = Usage(
            prompt_tokens=len(self.tokens),
            completion_tokens=self._writer.written,
            cached_tokens=self._known,
        )
        self._show(Delta(finish_reason=self._writer.reason, usage=usage))
        return True

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.error = error
        self.end()

    def end(self) -> None:
        """Free what is held and tell whoever waits."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._tell(self._finish)

    def _finish(self) -> None:
        self.deltas.put_nowait(None)
        if not self.done.done():
            self.done.set_result(None)

    def _show(self, delta: Delta) -> None:
        self._tell(self.deltas.put_nowait, delta)

    def _tell(self, call: Any, *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)
