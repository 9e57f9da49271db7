"""Tells what an error is and where it was raised."""

from __future__ import annotations

import traceback
from pathlib import PurePath

BUILT_IN = "builtins"


def kind_of_error(error: BaseException) -> str:
    """Name what an error is, with its module where it is not one of Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == BUILT_IN else f"{kind.__module__}.{kind.__qualname__}"


def place_of(error: BaseException) -> str:
    """Name file and line of where an error was raised; empty where that is not known."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def told_with_place(error: BaseException, module: str) -> str:
    """Say in a line what an error is, what it says, and where the package of a module was when it came."""
    says = " ".join(f"{kind_of_error(error)}: {error}".split())
    package = module.partition(".")[0]
    places = [
        f"{PurePath(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return f"{says}, at {places[-1]}" if places else says
