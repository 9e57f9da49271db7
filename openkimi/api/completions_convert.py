"""From OpenAI's completions to what the engine is asked."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi.api.completions_schemas import DEFAULT_MAX_TOKENS, CompletionRequest
from openkimi.api.convert import ask_for, logit_bias_of, stop_of
from openkimi.errors import RequestError, UnsupportedParameter
from openkimi.messages import GenerateRequest, Message
from openkimi.turn import Ask

_MOST_ANSWERS = 2048


def asks_of(body: CompletionRequest, prompts: Sequence[str]) -> tuple[Ask, ...]:
    """Ask each prompt as the one message of a user, as often as the best answers are chosen from.

    Raises:
        RequestError: fields contradict each other or hold what cannot be served.
    """
    _check_logprobs(body)
    _check_suffix(body)
    written = _written(body)
    if len(prompts) * written > _MOST_ANSWERS:
        raise RequestError(
            f"'prompt': {len(prompts)} prompts with {written} answers each are more than {_MOST_ANSWERS}",
            param="prompt",
            code="invalid_value",
        )
    return tuple(ask_for(_request(body, prompt), body.openkimi, n=written) for prompt in prompts)


def chooses_best(body: CompletionRequest) -> bool:
    """Tell whether more answers are written than are shown."""
    return (body.best_of or 0) > max(body.n or 1, 1)


def _written(body: CompletionRequest) -> int:
    """Return how many answers a prompt gets; ``best_of`` 0 and 1 are what clients send for none."""
    wanted, best_of = body.n or 1, body.best_of or 1
    if 1 < best_of < wanted:
        raise RequestError(
            f"'best_of': {best_of} answers are too few to choose 'n' = {wanted} from", param="best_of"
        )
    if best_of > wanted and body.stream:
        raise RequestError("'best_of': the best answer is not known while it is streamed", param="best_of")
    return max(wanted, best_of)


def _check_logprobs(body: CompletionRequest) -> None:
    if body.echo and body.logprobs:
        raise UnsupportedParameter(
            "'logprobs': with 'echo' the prompt's tokens would need some too, which are not known here: "
            "send 0 for those of the answer, or leave out 'echo'",
            param="logprobs",
        )


def _check_suffix(body: CompletionRequest) -> None:
    own = body.openkimi
    if not body.suffix or own is None:
        return
    if own.documents:
        raise RequestError(
            "'openkimi.documents' cannot be searched with 'suffix'", param="openkimi.documents"
        )
    if own.mpr and (own.mpr.candidates or 1) > 1:
        raise RequestError("'openkimi.mpr' cannot be combined with 'suffix'", param="openkimi.mpr")
    if own.mode == "exhaustive":
        raise RequestError("'openkimi.mode' cannot be 'exhaustive' with 'suffix'", param="openkimi.mode")


def _request(body: CompletionRequest, prompt: str) -> GenerateRequest:
    return GenerateRequest(
        messages=(Message(role="user", content=prompt),),
        model=body.model or "",
        max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=logit_bias_of(body.logit_bias or {}),
        stop=stop_of(body.stop),
        seed=body.seed,
        logprobs=body.logprobs is not None or chooses_best(body),
        top_logprobs=body.logprobs or 0,
        suffix=body.suffix,
        stream=bool(body.stream),
        user=body.user,
    )
