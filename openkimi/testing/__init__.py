"""What authors of plugins test with; the promises of the contracts are in its module ``contracts``."""

from __future__ import annotations

from openkimi.testing import fakes
from openkimi.testing.cutting import cut
from openkimi.testing.embedding import HashingEmbedder
from openkimi.testing.opening import open_component
from openkimi.testing.retrieving import InMemoryRetriever
from openkimi.testing.serving import gateway, serving

__all__ = ["HashingEmbedder", "InMemoryRetriever", "cut", "fakes", "gateway", "open_component", "serving"]
