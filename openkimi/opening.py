"""Names whose component keeps an engine from opening, where it raises what nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from openkimi.errors import OpeningError, OpenKimiError
from openkimi.held import raised_in
from openkimi.raised import told_with_place

log = structlog.get_logger()


@contextmanager
def naming(what: Callable[[], str] | None = None, module: str = "") -> Iterator[None]:
    """Say inside of a ``with`` which open component failed, and in which method, or else ``what`` failed.

    The place is named where the component's package was, or that of the ``module``. Without ``what``, that
    which comes out of no component is raised as it is.

    Raises:
        OpeningError: what was raised is none of openkimi's errors.
    """
    try:
        yield
    except (OpenKimiError, MemoryError):
        raise
    except Exception as error:
        if (found := raised_in(error)) is not None:
            origin, method = found
            module = origin.module
            failed = f"{origin.where}: {origin.name}.{method} of {origin.described} failed at the start"
        elif what is not None:
            failed = what()
        else:
            raise
        log.debug("not_opened_because", exc_info=error)
        raise OpeningError(f"{failed}: {told_with_place(error, module)}") from error
