"""The promises of each contract as tests, for authors to run against their own components; needs pytest.

    from openkimi.testing.contracts import BackendContract

    class TestParrot(BackendContract):
        provider = PARROT

The class above is the whole test: it inherits one test for each promise. A test opens the component anew, by
:meth:`Contract.open`, in an event loop of its own, so that no plugin of pytest and no setting is needed.
"""

from __future__ import annotations

import pytest

_KINDS = ("backend", "embedder", "processor", "retriever", "sampler", "synthesizer")
pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in (*_KINDS, "comparing", "contract", "watching"))
)

from openkimi.testing.contracts.backend import BackendContract  # noqa: E402 - asserts explain themselves
from openkimi.testing.contracts.contract import Contract, promise  # noqa: E402
from openkimi.testing.contracts.embedder import EmbedderContract  # noqa: E402
from openkimi.testing.contracts.processor import ProcessorContract  # noqa: E402
from openkimi.testing.contracts.retriever import RetrieverContract  # noqa: E402
from openkimi.testing.contracts.sampler import SamplerContract  # noqa: E402
from openkimi.testing.contracts.synthesizer import SynthesizerContract  # noqa: E402

__all__ = [
    "BackendContract",
    "Contract",
    "EmbedderContract",
    "ProcessorContract",
    "RetrieverContract",
    "SamplerContract",
    "SynthesizerContract",
    "promise",
]
