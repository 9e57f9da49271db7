"""Every first-party component keeps what its contract promises, by the suites that strangers use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import pytest

import openkimi_e5
import openkimi_entropy
import openkimi_lancedb
import openkimi_llama_cpp
import openkimi_mpr
import openkimi_openai
import openkimi_scripted
import openkimi_use
import openkimi_xllamacpp
from openkimi import Provider
from openkimi.testing import fakes, gateway, open_component
from openkimi.testing.contracts import (
    BackendContract,
    EmbedderContract,
    ProcessorContract,
    RetrieverContract,
    SamplerContract,
    SynthesizerContract,
)

T = TypeVar("T")
SAMPLERS = list(openkimi_mpr.register_samplers())
SYNTHESIZERS = list(openkimi_mpr.register_synthesizers())
MODEL = {"model_path": "smollm2-135m-instruct", "context_length": 4096}


@asynccontextmanager
async def upstream(**llm: Any) -> AsyncIterator[dict[str, str]]:
    """Serve a gateway of our own, and yield the options of a component that talks to it."""
    async with gateway({"llm": {"type": "scripted", **llm}}) as url:
        yield {"api_url": f"{url}/v1", "model_name": "m"}


def only(providers: Iterable[Provider[T]]) -> Provider[T]:
    [provider] = providers
    return provider


class TestScripted(BackendContract):
    provider = only(openkimi_scripted.register_backends())


class TestScriptedSlowly(BackendContract):
    """A backend that takes time and has few places shows what leaving and waiting do."""

    provider = only(openkimi_scripted.register_backends())
    options = {"concurrency": 2, "token_delay": 0.005, "delay": 0.01, "reply": "word " * 200}


class TestOpenAI(BackendContract):
    """The backend that another server stands behind, here a gateway of our own."""

    provider = only(openkimi_openai.register_backends())
    options = {"model_name": "m"}
    shared = True
    counts_exactly = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        async with upstream(token_delay=0.001) as options, open_component(self.provider, **options) as opened:
            yield opened


class Local(BackendContract):
    """A real model takes its time, on a machine that does other things too."""

    options = MODEL
    shared = True
    patience = 300.0
    soon = 30.0
    longest_pause = 5.0


@pytest.mark.model
class TestLlamaCpp(Local):
    provider = only(openkimi_llama_cpp.register_backends())


@pytest.mark.model
class TestXllamacpp(Local):
    provider = only(openkimi_xllamacpp.register_backends())


class TestHashing(EmbedderContract):
    provider = only(fakes.register_embedders())


class TestUse(EmbedderContract):
    provider = only(openkimi_use.register_embedders())
    many = 100
    shared = True


class TestOpenAIEmbedder(EmbedderContract):
    provider = only(openkimi_openai.register_embedders())
    options = {"model_name": "m"}
    shared = True
    server: dict[str, str] | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        """Talk to the server of the shared embedder, as the server is part of the fingerprint."""
        async with AsyncExitStack() as stack:
            if self.server is None:
                type(self).server = await stack.enter_async_context(upstream())
            yield await stack.enter_async_context(open_component(self.provider, **(self.server or {})))


class TestE5(EmbedderContract):
    provider = only(openkimi_e5.register_embedders())
    many = 20
    shared = True


class TestEntropy(ProcessorContract):
    provider = only(openkimi_entropy.register_processors())


class TestInMemory(RetrieverContract):
    provider = only(fakes.register_retrievers())


class TestLanceDB(RetrieverContract):
    provider = only(openkimi_lancedb.register_retrievers())

    @property
    def options(self) -> Mapping[str, Any]:
        return {"path": str(self.folder)}


class TestSamplers(SamplerContract):
    @pytest.fixture(autouse=True, params=SAMPLERS, ids=lambda provider: provider.kind)
    def _each(self, request: pytest.FixtureRequest) -> None:
        self.provider = request.param


class TestSynthesizers(SynthesizerContract):
    @pytest.fixture(autouse=True, params=SYNTHESIZERS, ids=lambda provider: provider.kind)
    def _each(self, request: pytest.FixtureRequest) -> None:
        self.provider = request.param
