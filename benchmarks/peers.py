"""The gateways that are measured, each started as its users start it, in one process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openkimi-benchmarks"
ROOT = Path(__file__).parents[1]
_START_SECONDS = 90
_PATIENCE = aiohttp.ClientTimeout(3600)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: its base address, headers that it wants, and its process (0: the upstream)."""

    name: str
    url: str
    pid: int
    headers: dict[str, str] = {}


class Absent(Exception):
    """A peer cannot be had here; says why."""


@asynccontextmanager
async def process(*command: str, log: Path, cpus: set[int], **environ: str) -> AsyncIterator[Process]:
    """Run a program and stop it at the end, by its process id."""
    with log.open("wb") as output:
        running = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env={**os.environ, **environ}, cwd=log.parent
        )
    pin(running.pid, cpus)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        try:
            await asyncio.wait_for(running.wait(), 10)
        except TimeoutError:
            running.kill()
            await running.wait()


def pin(pid: int, cpus: set[int]) -> None:
    """Keep a process on some processors, where the system can."""
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cpus)


@asynccontextmanager
async def upstream(folder: Path, cpus: set[int]) -> AsyncIterator[Target]:
    log = folder / "upstream.log"
    async with process(sys.executable, str(ROOT / "benchmarks/fake_upstream.py"), log=log, cpus=cpus):
        while not (url := log.read_text().strip()):
            await asyncio.sleep(0.05)
        yield Target(name="upstream", url=url, pid=0)


@asynccontextmanager
async def openkimi(api_url: str, folder: Path, cpus: set[int]) -> AsyncIterator[Target]:
    log, port, config = folder / "openkimi.log", free_port(), folder / "config.json"
    llm = {"type": "api", "api_url": api_url, "model_name": "fake", "api_key": "sk-benchmark"}
    config.write_text(json.dumps({"llm": llm, "rag": {"path": str(folder / "lancedb")}}))
    command = (sys.executable, "-m", "openkimi.api.server", "--config", str(config), "--port", str(port))
    async with process(*command, log=log, cpus=cpus) as running:
        await ready(f"http://127.0.0.1:{port}/health", running, log)
        yield Target(name="openkimi", url=f"http://127.0.0.1:{port}/v1", pid=running.pid)


@asynccontextmanager
async def client_of(config: Mapping[str, Any], folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Run a gateway as a process of its own, its files in a folder, and a client that waits for an hour."""
    log, port, path = folder / "gateway.log", free_port(), folder / "config.json"
    path.write_text(json.dumps(config))
    command = (sys.executable, "-m", "openkimi.api.server", "--config", str(path), "--port", str(port))
    async with process(*command, "--log-level", "warning", log=log, cpus=set()) as running:
        url = f"http://127.0.0.1:{port}"
        await ready(f"{url}/health", running, log)
        async with aiohttp.ClientSession(url, timeout=_PATIENCE) as http:
            yield http


@asynccontextmanager
async def litellm(api_url: str, folder: Path, cpus: set[int]) -> AsyncIterator[Target]:
    log, home, port = folder / "litellm.log", CACHE / "litellm", free_port()
    if not (home / "bin/litellm").exists():
        await install(sys.executable, "-m", "venv", str(home))
        await install(str(home / "bin/pip"), "install", "-q", "litellm[proxy]==1.106.2")
    model = {"model": "openai/fake", "api_base": api_url, "api_key": "sk-benchmark"}
    config = folder / "litellm.json"
    config.write_text(json.dumps({"model_list": [{"model_name": "fake", "litellm_params": model}]}))
    async with process(
        *(str(home / "bin/litellm"), "--config", str(config), "--port", str(port)),
        *("--host", "127.0.0.1", "--telemetry", "False"),
        log=log,
        cpus=cpus,
        LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true",
        LITELLM_LOCAL_MODEL_COST_MAP="true",
    ) as running:
        await ready(f"http://127.0.0.1:{port}/health/liveliness", running, log)
        yield Target(name="litellm", url=f"http://127.0.0.1:{port}/v1", pid=running.pid)


@asynccontextmanager
async def portkey(api_url: str, folder: Path, cpus: set[int]) -> AsyncIterator[Target]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Absent("Node.js is not installed")
    log, home, port = folder / "portkey.log", CACHE / "portkey", free_port()
    server = home / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if not server.exists():
        home.mkdir(parents=True, exist_ok=True)
        await install(npm, "install", "--prefix", str(home), "--silent", "@portkey-ai/gateway@1.15.2")
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": api_url}
    command = (node, str(server), "--headless", f"--port={port}")
    async with process(*command, log=log, cpus=cpus, NODE_ENV="production") as running:
        await ready(f"http://127.0.0.1:{port}/", running, log)
        yield Target(name="portkey", url=f"http://127.0.0.1:{port}/v1", pid=running.pid, headers=headers)


async def install(*command: str) -> None:
    print(f"installing: {' '.join(command)}", file=sys.stderr)
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await running.wait():
        raise Absent(f"'{' '.join(command)}' failed")


async def ready(url: str, running: Process, log: Path) -> None:
    """Wait until a server answers 200.

    Raises:
        Absent: it ended, or takes too long.
    """
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if running.returncode is not None:
            raise Absent(f"it ended with {running.returncode}: {log.read_text('utf-8', 'replace')[-500:]}")
        if await asyncio.to_thread(_answers, url):
            return
        await asyncio.sleep(0.2)
    raise Absent(f"{url} did not answer within {_START_SECONDS} s")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
