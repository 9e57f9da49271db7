"""The scripted backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, get_args

from openkimi import (
    Backend,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
    Delta,
    Feature,
    GenerateRequest,
    Usage,
)
from openkimi_scripted.options import DEFAULT_CONTEXT_LENGTH, ScriptedOptions
from openkimi_scripted.prompt import render
from openkimi_scripted.script import compose
from openkimi_scripted.steps import gather, steps
from openkimi_scripted.tokens import count

_KEPT = 256
_INLINE = 50_000
_ERRORS = {"backend": BackendError, "unavailable": BackendUnavailable, "timeout": BackendTimeout}


class ScriptedBackend(Backend):
    """Answers deterministically, serves every feature and remembers what it was asked.

    How each parameter of a request shows:

    - ``max_tokens``: the answer ends after that many tokens of :func:`openkimi_scripted.tokenize`, with
      ``length``; a prompt that leaves no room for them is a :class:`openkimi.ContextOverflow`;
    - ``stop``: the answer ends before the sequence;
    - ``temperature``, ``top_p``, ``seed``, the penalties, ``logit_bias`` and ``suffix``: those that differ
      from their defaults are named after the extracted sentence, as in `` [temperature=0.5 seed=7]``; a
      scripted reply, an echo and JSON by schema stay as they are; nothing depends on chance;
    - ``logprobs``: made up from the token and its place, in (-1, 0]; the chosen token is the likeliest of
      its ``top_logprobs`` alternatives;
    - ``response_format``: ``{"answer": …}``, or the smallest value that fits the schema;
    - ``tools``: the scripted calls of those offered, unless the last message is a tool's; where a call is
      required, a call whose arguments are the smallest that fit.

    ``requests`` are the last 256 requests. ``active`` generations run now, at most ``peak`` ran at once;
    each ends as ``finished``, ``failed`` or ``cancelled`` (its consumer left).
    """

    features = frozenset(get_args(Feature))

    def __init__(self, options: ScriptedOptions | None = None) -> None:
        self._options = options or ScriptedOptions()
        self.parameters = self._options.parameters
        self.concurrency = self._options.concurrency
        self._slots: AbstractAsyncContextManager[Any] = (
            asyncio.Semaphore(self.concurrency) if self.concurrency else nullcontext()
        )
        self.requests: list[GenerateRequest] = []
        self.active = self.peak = 0
        self.finished = self.failed = self.cancelled = 0

    @property
    def context_window(self) -> int:
        """The option ``context_length``."""
        return self._options.context_length or DEFAULT_CONTEXT_LENGTH

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request.

        Raises:
            ContextOverflow: the prompt and ``max_tokens`` are more than the window.
            BackendError: the script says so.
        """
        self._enter(request)
        outcome = "cancelled"
        try:
            async with self._slots:
                deltas, last = await self._answer(request)
                await asyncio.sleep(self._options.delay)
                self._fail_before()
                for at, delta in enumerate(deltas):
                    self._fail_at(at)
                    yield delta
                    await asyncio.sleep(self._options.token_delay)
                if self._options.fail_after is not None:
                    self._fail_at(self._options.fail_after)
                outcome = "finished"
                yield last
        except Exception:
            outcome = "failed"
            raise
        finally:
            self._leave(outcome)

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of the rendered prompt."""
        return (await self.count_tokens([render(request)]))[0]

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        if sum(map(len, texts)) < _INLINE:
            return _counts(texts)
        return await asyncio.to_thread(_counts, texts)

    async def _answer(self, request: GenerateRequest) -> tuple[list[Delta], Delta]:
        read = await self.count_prompt(request)
        limit = self.context_window - read if request.max_tokens is None else request.max_tokens
        if limit < 0 or read + limit > self.context_window:
            raise ContextOverflow(
                f"the prompt has {read} tokens and the answer may have {max(limit, 0)}, "
                f"the window holds {self.context_window}",
                param="messages",
            )
        return await asyncio.to_thread(self._plan, request, read, limit)

    def _plan(self, request: GenerateRequest, read: int, limit: int) -> tuple[list[Delta], Delta]:
        answer = compose(request, self._options, render(request))
        tokens, reason = steps(answer, request, limit)
        reasoning = sum(1 for token in tokens if token.reasoning)
        usage = Usage(prompt_tokens=read, completion_tokens=len(tokens), reasoning_tokens=reasoning)
        return list(gather(tokens, self._options.chunk_size)), Delta(finish_reason=reason, usage=usage)

    def _fail_before(self) -> None:
        if self._options.fail_before is not None:
            raise _ERRORS[self._options.fail_kind](self._options.fail_before)

    def _fail_at(self, emitted: int) -> None:
        if emitted == self._options.fail_after:
            raise _ERRORS[self._options.fail_kind]("the script says to fail in the middle of the answer")

    def _enter(self, request: GenerateRequest) -> None:
        self.requests.append(request)
        del self.requests[:-_KEPT]
        self.active += 1
        self.peak = max(self.peak, self.active)

    def _leave(self, outcome: str) -> None:
        self.active -= 1
        self.finished += outcome == "finished"
        self.failed += outcome == "failed"
        self.cancelled += outcome == "cancelled"


def _counts(texts: Sequence[str]) -> list[int]:
    return [count(text) for text in texts]
