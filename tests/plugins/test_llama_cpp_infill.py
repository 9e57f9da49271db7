"""Filling in text, with models that were taught to."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from openkimi import GenerateRequest, Message
from openkimi.testing import open_component
from openkimi_gguf.models import resolve
from openkimi_gguf.pieces import Infill
from openkimi_llama_cpp import register_backends
from openkimi_llama_cpp.backend import LlamaCppBackend

CODER = os.environ.get("OPENKIMI_INFILL_MODEL", "")
"""A GGUF file with fill-in-the-middle tokens, such as Qwen2.5-Coder; without it some rules are not tried."""

needs_coder = pytest.mark.skipif(not CODER, reason="OPENKIMI_INFILL_MODEL names no model")


def request(prefix: str, suffix: str | None, **settings: object) -> GenerateRequest:
    asked = {"max_tokens": 12, "temperature": 0.0, "stop": ("\n\n",), **settings}
    return GenerateRequest(messages=(Message(role="user", content=prefix),), suffix=suffix, **asked)


async def answer(backend: LlamaCppBackend, asked: GenerateRequest) -> str:
    async with aclosing(backend.generate(asked)) as deltas:
        return "".join([delta.content async for delta in deltas])


@pytest.fixture
async def coder() -> AsyncIterator[LlamaCppBackend]:
    [provider] = register_backends()
    async with open_component(provider, model_path=CODER, context_length=1024) as backend:
        yield backend


def test_only_the_markers_are_the_templates() -> None:
    """Text before and after the gap is the user's: what looks like a marker in it is none."""
    pieces = Infill("<pre>", "<suf>", "<mid>").between("a <suf>", "b")

    assert "".join(piece.text for piece in pieces) == "<pre>a <suf><suf>b<mid>"
    assert [piece.text for piece in pieces if piece.from_template] == ["<pre>", "<suf>", "<mid>"]


@pytest.mark.model
async def test_a_model_without_the_tokens_does_not_offer_it() -> None:
    """The default model was not taught to fill in, so the backend lacks the feature and chats."""
    [provider] = register_backends()
    async with open_component(provider, model_path=str(resolve("smollm2-135m-instruct"))) as backend:
        chat = await backend.count_prompt(request("Hello", None))
        empty = await backend.count_prompt(request("Hello", ""))

    assert "suffix" not in backend.features
    assert empty == chat


@needs_coder
async def test_the_gap_is_filled(coder: LlamaCppBackend) -> None:
    """A code model writes what stands between the two texts, not an answer to the first."""
    filled = await answer(coder, request("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"))

    assert "suffix" in coder.features
    assert filled.strip() == "return a + b"


@needs_coder
async def test_markers_in_the_text_are_text(coder: LlamaCppBackend) -> None:
    """A file that speaks of the markers costs more tokens than the markers themselves would."""
    plain = await coder.count_prompt(request("", ""))
    told = await coder.count_prompt(request("<|fim_suffix|>", ""))

    assert plain == 3
    assert told > plain + 1
