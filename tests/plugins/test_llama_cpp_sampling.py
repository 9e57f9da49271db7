"""The choice of tokens, with the vocabulary of the real default model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from openkimi import GenerateRequest
from openkimi_gguf.form import NO_FORM
from openkimi_gguf.models import resolve
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.sampling import Sampler

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = Model(resolve("smollm2-135m-instruct"), LlamaCppOptions(context_length=256, parallel=1))
    yield model
    model.close()


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("min_p", [0.05, 0.0])
def test_the_quick_choice_is_that_of_the_whole_vocabulary(
    model: Model, temperature: float, top_p: float, min_p: float
) -> None:
    """Leaving out what cannot be chosen changes no token."""
    request = GenerateRequest(messages=(), temperature=temperature, top_p=top_p, seed=7)
    options, chance = LlamaCppOptions(min_p=min_p), np.random.default_rng(1)
    quick, whole = (Sampler(model.library, model.vocabulary, request, options, NO_FORM) for _ in range(2))
    whole._plain = False
    steps = [
        (chance.standard_normal(model.vocabulary.size) * spread).astype(np.float32)
        for spread in np.linspace(0.5, 6, 20)
    ]

    chosen = [(quick.next(logits), whole.next(logits)) for logits in steps]

    quick.close()
    whole.close()
    assert all(one == other for one, other in chosen)
    assert len({one for one, _ in chosen}) > 10
