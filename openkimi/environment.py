"""Values of the config that stand in the environment: ``{"$env": "NAME"}``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from openkimi.errors import ConfigError
from openkimi.options import FromEnvironment

_DEEPEST = 50


def with_environment(value: Any, environ: Mapping[str, str], where: str = "") -> Any:
    """Replace each ``{"$env": "NAME"}`` by the variable's value.

    Raises:
        ConfigError: a variable is not set, a string holds the character NUL, or the values are nested too
            deeply; names the place.
    """
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{where.lstrip('.')}: must not hold the character NUL")
    if isinstance(value, list):
        return [with_environment(item, environ, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, Mapping):
        return value
    if where.count(".") + where.count("[") > _DEEPEST:
        raise ConfigError(f"{where.lstrip('.')[:80]}…: nested too deeply")
    if set(value) != {"$env"}:
        return {key: with_environment(item, environ, f"{where}.{key}") for key, item in value.items()}
    name = value["$env"]
    if not isinstance(name, str) or name not in environ:
        raise ConfigError(f"{where.lstrip('.')}: the environment variable {name} is not set")
    return FromEnvironment(environ[name])
