"""What authors of plugins test with."""

from __future__ import annotations

from openkimi.testing.opening import open_component

__all__ = ["open_component"]
