"""Makes deltas of the engine's events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from openkimi import Delta, FinishReason, StopFilter, TokenLogprob, TopLogprob, Usage
from openkimi_gguf.calling import CallParser, Parsed
from openkimi_gguf.form import NO_FORM, Form
from openkimi_xllamacpp.client import failure
from openkimi_xllamacpp.events import Alternative, Event, Probability

# What OpenAI writes for a probability that is nothing.
_NEVER = -9999.0


class Answer:
    """Reads one answer; ``over`` once its last delta was made, ``complete`` once the engine said its last.

    Calls of the functions that ``form`` names are told from the text, and ``stop`` holds what ends the text
    and is not left to the engine, which would look for it in calls too.
    """

    def __init__(self, *, top_logprobs: int = 0, form: Form = NO_FORM, stop: tuple[str, ...] = ()) -> None:
        self.over = False
        self.complete = False
        self._top = top_logprobs
        self._calls = CallParser(form.dialect, form.names) if form.dialect else None
        self._stop = StopFilter(stop)
        self._held: deque[TokenLogprob] = deque()
        self._shown = 0
        self._cached = 0

    def delta(self, event: Event) -> Delta | None:
        """Make a delta of an event, None where it shows nothing.

        Raises:
            GrammarRefused: the grammar cannot be used.
            RequestError: the engine refuses the request.
            BackendError: the engine failed.
        """
        if event.error is not None:
            raise failure(event.error.message, event.error.type)
        if event.prompt_progress is not None:
            self._cached = event.prompt_progress.cache
        self.complete = event.stop
        parsed = self._parsed(event)
        text = self._stop.feed(parsed.content)
        self.over = event.stop or self._stop.stopped
        if self.over:
            text += self._stop.flush()
        logprobs = self._logprobs(text, event.completion_probabilities)
        if not (text or logprobs or parsed.calls or self.over):
            return None
        return Delta(
            content=text,
            tool_calls=parsed.calls,
            logprobs=logprobs,
            finish_reason=self._reason(event) if self.over else None,
            usage=self._usage(event) if self.over else None,
        )

    def _parsed(self, event: Event) -> Parsed:
        if self._calls is None:
            return Parsed(event.content)
        content, calls = self._calls.feed(event.content)
        if event.stop:
            rest = self._calls.flush(cut_off=event.stop_type == "limit")
            content, calls = content + rest.content, calls + rest.calls
        return Parsed(content, calls)

    def _logprobs(self, shown: str, tokens: Iterable[Probability]) -> tuple[TokenLogprob, ...]:
        """Give what is known of tokens once their text is shown: a part of a stop sequence never is."""
        self._held.extend(_token(token, self._top) for token in tokens if token.bytes)
        self._shown += len(shown)
        whole: list[TokenLogprob] = []
        while self._held and len(self._held[0].token) <= self._shown:
            whole.append(self._held.popleft())
            self._shown -= len(whole[-1].token)
        return tuple(whole)

    def _reason(self, event: Event) -> FinishReason:
        if self._stop.stopped:
            return "stop"
        if event.stop_type == "limit":
            return "length"
        return "tool_calls" if self._calls is not None and self._calls.called else "stop"

    def _usage(self, event: Event) -> Usage:
        # The token that ends an answer is counted by the engine.
        written = event.tokens_predicted - (event.stop_type == "eos")
        return Usage(
            prompt_tokens=event.tokens_evaluated,
            completion_tokens=max(written, 0),
            cached_tokens=self._cached,
        )


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
