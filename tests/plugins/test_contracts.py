"""Every first-party component keeps what its contract promises, by the suites that strangers use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import pytest

import openkimi_e5
import openkimi_entropy
import openkimi_lancedb
import openkimi_llama_cpp
import openkimi_mpr
import openkimi_scripted
import openkimi_use
import openkimi_xllamacpp
from openkimi import Provider
from openkimi.testing import fakes
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


def only(providers: Iterable[Provider[T]]) -> Provider[T]:
    [provider] = providers
    return provider


class TestScripted(BackendContract):
    provider = only(openkimi_scripted.register_backends())


class TestScriptedSlowly(BackendContract):
    """A backend that takes time and has few places shows what leaving and waiting do."""

    provider = only(openkimi_scripted.register_backends())
    options = {"concurrency": 2, "token_delay": 0.005, "delay": 0.01, "reply": "word " * 200}


@pytest.mark.model
class TestLlamaCpp(BackendContract):
    provider = only(openkimi_llama_cpp.register_backends())
    options = MODEL
    shared = True


@pytest.mark.model
class TestXllamacpp(BackendContract):
    provider = only(openkimi_xllamacpp.register_backends())
    options = MODEL
    shared = True


class TestHashing(EmbedderContract):
    provider = only(fakes.register_embedders())


class TestUse(EmbedderContract):
    provider = only(openkimi_use.register_embedders())
    shared = True


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
