"""The log: what callers send cannot work on the terminal that shows it."""

import structlog

from openkimi import logs


def test_control_characters_are_shown_and_not_obeyed() -> None:
    """An address can hold an escape sequence that renames a window or clears the screen."""
    event = {"event": "request", "path": "/v1/\x1b]0;owned\x07", "other": "\x9b2J", "status": 404}

    for process in logs._terminal():
        event = process(structlog.get_logger(), "info", event)

    assert "/v1/\\x1b]0;owned\\x07" in str(event)
    assert "\\x9b2J" in str(event)


def test_line_breaks_stay() -> None:
    """Messages of several lines are readable."""
    assert logs._tamed(None, "info", {"event": "one\n\ttwo"}) == {"event": "one\n\ttwo"}
