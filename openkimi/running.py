"""Asks the gateway that runs at an address what it is, and what its plugins did wrong while it ran."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Container, Iterator
from http.client import HTTPException
from typing import Literal, TypeVar

import msgspec

from openkimi.diagnosis import Finding
from openkimi.sections import ServerSection

T = TypeVar("T")

_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - it is looked for, not listened on
_SECONDS = 2
_LARGEST = 1 << 20
_NEEDS_KEY = frozenset({401, 403})
_NO_GATEWAY = (OSError, HTTPException, msgspec.MsgspecError)
"""What is raised where something else answers, which may not speak HTTP."""


class _Health(msgspec.Struct, frozen=True):
    version: str


class _Plugin(msgspec.Struct, frozen=True):
    id: str
    state: Literal["loaded", "failed", "blocked"]
    reason: str | None = None
    remedy: str | None = None


class _Plugins(msgspec.Struct, frozen=True):
    data: list[_Plugin]


def release_at(server: ServerSection) -> str | None:
    """Tell which OpenKimi answers at an address, None where it is something else."""
    try:
        return _get(server, "/health/live", _Health).version
    except _NO_GATEWAY:
        return None


def faults_at(server: ServerSection, known: Container[tuple[str, str | None]]) -> Iterator[Finding]:
    """List what plugins did wrong in the gateway at an address, as far as it tells without a key.

    Names and reasons that are ``known`` are left out.
    """
    try:
        plugins = _get(server, "/v1/plugins", _Plugins).data
    except urllib.error.HTTPError as error:
        if error.code in _NEEDS_KEY:
            says = "a key is needed to be told of them"
            yield Finding(what="plugins at work", says=says, remedy="ask GET /v1/plugins with one")
    except _NO_GATEWAY:
        return
    else:
        for plugin in plugins:
            if plugin.reason and plugin.state != "blocked" and (plugin.id, plugin.reason) not in known:
                what = f"plugin {plugin.id} at work"
                yield Finding(what=what, state="warning", says=plugin.reason, remedy=plugin.remedy)


def _get(server: ServerSection, path: str, kind: type[T]) -> T:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{_host(server)}:{server.port}{path}", timeout=_SECONDS) as response:
        return msgspec.json.decode(response.read(_LARGEST), type=kind)


def _host(server: ServerSection) -> str:
    if server.host in _EVERYWHERE:
        return "127.0.0.1"
    return f"[{server.host}]" if ":" in server.host else server.host
