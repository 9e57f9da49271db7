"""What authors of plugins test with."""

from __future__ import annotations

from openkimi.testing.embedding import HashingEmbedder
from openkimi.testing.opening import open_component
from openkimi.testing.retrieving import InMemoryRetriever
from openkimi.testing.serving import serving

__all__ = ["HashingEmbedder", "InMemoryRetriever", "open_component", "serving"]
