"""A JSON file of API keys that may change while the gateway runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from openkimi.api_keys import ApiKey, refuse_twice
from openkimi.environment import with_environment
from openkimi.errors import ConfigError
from openkimi.file_stamp import stamp_of

log = structlog.get_logger()

_WHERE = "server.api_keys_file"
_LOOK_EVERY = 1.0


def read_key_file(path: str) -> tuple[ApiKey, ...]:
    """Read a list of keys as ``server.api_keys`` has it.

    Raises:
        ConfigError: the file cannot be read, or an entry is wrong.
    """
    place = f"{_WHERE}: {path}"
    try:
        entries = msgspec.json.decode(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{place}: not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{place}: expected a list of keys, got {type(entries).__name__}")
    return tuple(
        _key(value, f"{place}[{at}]") for at, value in enumerate(with_environment(entries, os.environ, place))
    )


def _key(value: object, place: str) -> ApiKey:
    try:
        return ApiKey.of(value)
    except ValueError as error:
        raise ConfigError(f"{place}: {str(error).replace('`', '')}") from error


class KeyFile:
    """The keys of a file as it is now, beside those ``given`` in the config.

    It is looked at once a second. A file that is gone or wrong changes nothing: the keys that were good
    before stay, and the log says why.
    """

    def __init__(self, path: str, given: Sequence[ApiKey] = ()) -> None:
        self._path = path
        self._given = tuple(given)
        self._stamp = stamp_of(self._path)
        self._keys = self._read()
        self._next = time.monotonic() + _LOOK_EVERY

    def keys(self) -> tuple[ApiKey, ...]:
        """Return the given keys and the file's."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOOK_EVERY
            self._refresh()
        return self._keys

    def _refresh(self) -> None:
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except ConfigError as error:
            log.warning("api_keys_not_read", reason=error.message, remedy="the keys of before stay good")
        else:
            log.info("api_keys_read", keys=len(self._keys))

    def _read(self) -> tuple[ApiKey, ...]:
        keys = (*self._given, *read_key_file(self._path))
        refuse_twice(keys, where=_WHERE)
        return keys
