"""Makes deltas of the engine's events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from openkimi import BackendError, Delta, FinishReason, RequestError, TokenLogprob, TopLogprob, Usage
from openkimi_xllamacpp.client import failure
from openkimi_xllamacpp.events import Alternative, Event, Probability

# What OpenAI writes for a probability that is nothing.
_NEVER = -9999.0


class Answer:
    """Reads one answer; ``complete`` once its last event was read."""

    def __init__(self, *, top_logprobs: int) -> None:
        self.complete = False
        self._top = top_logprobs
        self._held: deque[TokenLogprob] = deque()
        self._shown = 0

    def delta(self, event: Event) -> Delta | None:
        """Make a delta of an event, None where it shows nothing.

        Raises:
            RequestError: the engine refuses the request.
            BackendError: the engine failed.
        """
        if event.error is not None:
            raise _failed(event)
        logprobs = self._logprobs(event.content, event.completion_probabilities)
        if event.stop:
            self.complete = True
            return Delta(
                content=event.content, logprobs=logprobs, finish_reason=_reason(event), usage=_usage(event)
            )
        return Delta(content=event.content, logprobs=logprobs) if event.content or logprobs else None

    def _logprobs(self, shown: str, tokens: Iterable[Probability]) -> tuple[TokenLogprob, ...]:
        """Give what is known of tokens once their text is shown: a part of a stop sequence never is."""
        self._held.extend(_token(token, self._top) for token in tokens if token.bytes)
        self._shown += len(shown)
        whole: list[TokenLogprob] = []
        while self._held and len(self._held[0].token) <= self._shown:
            whole.append(self._held.popleft())
            self._shown -= len(whole[-1].token)
        return tuple(whole)


def _token(token: Probability, top: int) -> TokenLogprob:
    return TokenLogprob(
        token=token.token,
        logprob=_NEVER if token.logprob is None else token.logprob,
        bytes=token.bytes,
        top_logprobs=tuple(map(_alternative, token.top_logprobs[:top])),
    )


def _alternative(token: Alternative) -> TopLogprob:
    logprob = _NEVER if token.logprob is None else token.logprob
    return TopLogprob(token=token.token, logprob=logprob, bytes=token.bytes)


def _reason(event: Event) -> FinishReason:
    return "length" if event.stop_type == "limit" else "stop"


def _usage(event: Event) -> Usage:
    # The token that ends an answer is counted by the engine.
    written = event.tokens_predicted - (event.stop_type == "eos")
    return Usage(
        prompt_tokens=event.tokens_evaluated,
        completion_tokens=max(written, 0),
        cached_tokens=event.cached,
    )


def _failed(event: Event) -> BackendError | RequestError:
    assert event.error is not None
    return failure(event.error.message, event.error.type)
