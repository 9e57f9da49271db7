"""How many tokens go where, and the one function that keeps prompt and answer inside the window."""

from __future__ import annotations

import msgspec

from openkimi.contracts import Backend
from openkimi.errors import ContextOverflow
from openkimi.messages import GenerateRequest

SMALL_MODEL = 700_000_000
"""Weights up to which a model counts as small: half a billion, embeddings counted twice by some files."""

CHARACTERS_PER_TOKEN = 12
"""More than any text has on average: longer ones need not be counted to know that they do not fit."""

_DEFAULT_ANSWER = 1024
_FEW_PASSAGES = 3
"""They come whole, cost less than more of them that come as sentences, and answers are as good."""
_CORE_FROM = 8000
"""Below this budget a dense core takes the place of evidence: at 4,000 tokens that of 2 questions in 58."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens: the ``window``, what is kept free for the ``answer``, what document ``context`` may take.

    ``core`` of the context is for the densest content of each document, whatever the question. A prompt
    holds as many ``passages`` that answer a question, None: as many as fit.
    """

    window: int
    answer: int
    context: int
    core: int
    passages: int | None = None

    @property
    def prompt(self) -> int:
        """The most tokens that the prompt may have."""
        return self.window - self.answer


def plan(
    backend: Backend, request: GenerateRequest, *, window: int, max_context_tokens: int | None
) -> Budget:
    """Share out the window.

    The answer gets what was asked for, 1,024 tokens where nothing was, and a quarter of the window at
    most: a client that asks for more gets what the prompt leaves. Models of half a billion weights
    answered best from about 500 tokens of document, of the three best passages; what larger and remote ones
    get is a start.
    """
    answer = max(1, min(request.max_tokens or _DEFAULT_ANSWER, window // 4))
    context = min(max_context_tokens or default_context(backend.parameters), window - answer)
    core = 0 if is_small(backend) or context < _CORE_FROM else context // 8
    few = _FEW_PASSAGES if is_small(backend) and max_context_tokens is None else None
    return Budget(window=window, answer=answer, context=context, core=core, passages=few)


def default_context(parameters: int | None) -> int:
    """Return the tokens of document text that suit a model of that many weights (None: unknown)."""
    if parameters is None:
        return 4000
    if parameters <= SMALL_MODEL:
        return 500
    return 2000 if parameters <= 4_000_000_000 else 4000


async def count_within(backend: Backend, request: GenerateRequest, limit: int) -> int | None:
    """Count a request's prompt; None where it has more than ``limit`` tokens, told without a whole book."""
    for message in request.messages:
        prefix = limit * CHARACTERS_PER_TOKEN
        if len(message.text) > prefix:
            [tokens] = await backend.count_tokens([message.text[:prefix]])
            if tokens > limit:
                return None
    tokens = await backend.count_prompt(request)
    return tokens if tokens <= limit else None


def seal(backend: Backend, request: GenerateRequest, *, prompt_tokens: int, window: int) -> GenerateRequest:
    """Give the answer at most what the prompt leaves of the window.

    Where nobody set a limit a small model gets 1,024 tokens: it is apt to repeat itself without end, and
    would hold up everybody else until the window is full. Every request passes here on its way to a
    backend.

    Raises:
        ContextOverflow: the prompt leaves no room for a single token.
    """
    room = window - prompt_tokens
    if room < 1:
        raise ContextOverflow(
            f"what has to stay in the prompt takes {prompt_tokens} tokens, the model's window has {window}: "
            "shorten the last message, the instructions or the tools, or take a model with a larger window",
            param="messages",
        )
    limited = request.max_tokens is not None
    most = request.max_tokens or (_DEFAULT_ANSWER if is_small(backend) else room)
    return msgspec.structs.replace(request, max_tokens=min(most, room), limited=limited)


def is_small(backend: Backend) -> bool:
    """Tell whether a model is known to have half a billion weights or less."""
    return backend.parameters is not None and backend.parameters <= SMALL_MODEL
