"""Looks at what a configuration needs: Python, packages, plugins, components, the address, the disk."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from openkimi.config import Chosen, Config, build_config, read_config
from openkimi.diagnosis import Finding
from openkimi.errors import ConfigError
from openkimi.faults import faults_of
from openkimi.patience import START_SECONDS, within
from openkimi.plugins import in_one_line
from openkimi.running import faults_at, release_at

_OLDEST = (3, 11)
_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+).*?(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"].*)?$")
_SCARCE = 1 << 30


def examine(path: str | None) -> Iterator[Finding]:
    """Look at everything in turn; ``path`` is the config's, None for the built-in defaults."""
    yield from _python()
    yield from _packages()
    raw: dict[str, Any] = {}
    try:
        raw = read_config(path) if path else raw
        config = build_config(raw)
    except ConfigError as error:
        yield from _faults(raw, error)
        return
    yield Finding(what="config", says=f"{path or 'the built-in defaults'}: good")
    yield from _plugins(config)
    for chosen in _components(config):
        yield from _component(chosen)
    yield from _address(config)
    yield from _disk()


def _faults(raw: dict[str, Any], first: ConfigError) -> Iterator[Finding]:
    *others, last = faults_of(raw, first)
    for says in others:
        yield Finding(what="config", state="broken", says=says)
    remedy = "mend the config; docs/configuration.md lists every option"
    yield Finding(what="config", state="broken", says=last, remedy=remedy)


def _python() -> Iterator[Finding]:
    says = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
    if sys.version_info < _OLDEST:
        needed = ".".join(map(str, _OLDEST))
        yield Finding(what="Python", state="broken", says=says, remedy=f"install Python {needed} or newer")
    else:
        yield Finding(what="Python", says=says)


def _packages() -> Iterator[Finding]:
    """Look which packages are there: those that are needed, and those of extras."""
    missing: dict[str, list[str]] = {}
    extras: dict[str, None] = {}
    for requirement in requires("openkimi") or ():
        match = _REQUIREMENT.match(requirement)
        assert match is not None
        extra = match["extra"] or ""
        extras[extra] = None
        if not _is_installed(match["name"]):
            missing.setdefault(extra, []).append(match["name"])
    for extra in extras:
        yield _package(extra, missing.get(extra, []))


def _package(extra: str, missing: list[str]) -> Finding:
    what = f"extra {extra}" if extra else "packages"
    if not missing:
        return Finding(
            what=what, says=f"installed, openkimi {version('openkimi')}" if not extra else "installed"
        )
    says = f"not installed: {', '.join(missing)}"
    if extra:
        return Finding(what=what, says=f"{says}; where it is needed: pip install 'openkimi[{extra}]'")
    return Finding(what=what, state="broken", says=says, remedy="pip install --upgrade openkimi")


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _plugins(config: Config) -> Iterator[Finding]:
    """Look at the plugins, also at what they add to the application."""
    from openkimi.api.app import create_app
    from openkimi.engine import KimiEngine

    engine = KimiEngine.of(config)
    try:
        create_app(engine)
    except ConfigError as error:
        yield Finding(what="plugins", state="broken", says=error.message)
    for report in config.plugins.reports:
        if report.reason and report.state != "blocked":
            says = f"failed: {report.reason}" if report.state == "failed" else report.reason
            yield Finding(what=f"plugin {report.name}", state="warning", says=says, remedy=report.remedy)
    loaded = sum(report.state == "loaded" for report in config.plugins.reports)
    yield Finding(what="plugins", says=f"{loaded} of {len(config.plugins.reports)} in use")


def _components(config: Config) -> Iterable[Chosen[Any]]:
    chosen = (config.backend, config.embedder, config.reranker, config.processor, config.retriever)
    return [each for each in chosen if each is not None]


def _component(chosen: Chosen[Any]) -> Iterator[Finding]:
    """Let a component's plugin look at what it needs."""
    name = f"{chosen.role} {chosen.provider.kind}"
    diagnose: Callable[[Any], Iterable[Finding]] | None = chosen.provider.diagnose
    if diagnose is None:
        yield Finding(what=name, says="chosen; it is not looked at before it is opened")
        return
    try:
        yield from within(
            START_SECONDS, lambda: list(diagnose(chosen.options)), what=f"looking at the {name}"
        )
    except Exception as error:  # noqa: BLE001 - a plugin that cannot even look is a finding
        yield Finding(what=name, state="broken", says=in_one_line(error))


def _address(config: Config) -> Iterator[Finding]:
    """Look whether the address can be listened on, or who listens there."""
    server = config.server
    what = f"address {server.host}:{server.port}"
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((server.host, server.port))
        except OSError as error:
            yield from _taken(what, config, error)
        else:
            yield Finding(what=what, says="free")


def _taken(what: str, config: Config, error: OSError) -> Iterator[Finding]:
    if release := release_at(config.server):
        yield Finding(what=what, state="warning", says=f"an OpenKimi {release} answers there already")
        known = {(report.name, report.reason) for report in config.plugins.reports}
        yield from faults_at(config.server, known)
        return
    remedy = "end what uses it, or choose another server.port or server.host"
    yield Finding(what=what, state="broken", says=error.strerror or str(error), remedy=remedy)


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    yield free_space("disk of the working directory", free)


def free_space(what: str, free: int) -> Finding:
    """Judge the free bytes of a disk."""
    says = f"{free / (1 << 30):.1f} GiB free"
    if free >= _SCARCE:
        return Finding(what=what, says=says)
    return Finding(what=what, state="warning", says=says, remedy="make room: documents and models are stored")
