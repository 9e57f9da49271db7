"""How a question may be answered from a text longer than the window."""

from __future__ import annotations

from typing import Literal

Mode = Literal["auto", "passages", "whole", "exhaustive"]
"""What a caller may ask for.

``auto`` goes by the question. ``passages`` takes those that fit the question best. ``whole`` covers the
documents: for what the question asks, and else as for a summary. ``exhaustive`` has the model read all of it.
"""

UsedMode = Literal["passages", "summary", "enumeration", "comparison", "exhaustive"]
"""What was done in the end."""

OnUnsupported = Literal["answer", "decline"]
"""What becomes of an answer that nothing which was read bears out: it is given, or the caller is told so."""
