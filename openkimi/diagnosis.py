"""What is found when somebody asks why OpenKimi does not work, or whether it will."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of looking at one thing.

    ``what`` is named in a word or two, ``says`` tells in a line how it is, ``remedy`` what to do about it.
    What is ``broken`` keeps the gateway from starting or answering, a ``warning`` may do so later.
    """

    what: str
    state: Literal["good", "warning", "broken"] = "good"
    says: str
    remedy: str | None = None
