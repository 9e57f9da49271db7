"""How ``openkimi reload`` reaches a gateway: a Unix socket that only its user may open.

A gateway's socket is named after its process and lies in ``$XDG_RUNTIME_DIR/openkimi``, or without that in a
directory of the user's own beside other temporary files. One line of JSON goes each way.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from openkimi.errors import ConfigError, OpenKimiError, RequestError
from openkimi.plugins import in_one_line

log = structlog.get_logger()

_SUFFIX = ".sock"
_CONNECT_SECONDS = 0.1
_DESCRIBE_SECONDS = 5.0


class Reloaded(msgspec.Struct, frozen=True, kw_only=True, tag="reloaded"):
    """What a reload changed: options by their names. Those of ``at_restart`` only a start heeds.

    ``failed`` has the plugins that are not in use, with why.
    """

    changed: tuple[str, ...]
    at_restart: tuple[str, ...] = ()
    failed: dict[str, str] = {}


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Why there was no reload; ``of_config`` says that the config is to blame."""

    reason: str
    of_config: bool = False


class Described(msgspec.Struct, frozen=True, kw_only=True, tag="described"):
    """A gateway: its process, its config file and its address."""

    process: int
    config: str
    url: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is asked to do."""

    do: Literal["describe", "reload"]


Reply = Described | Reloaded | Failed


def directories() -> Iterator[Path]:
    """Name the directories where gateways of this user may have their sockets, the preferred one first."""
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "openkimi"
    yield Path(tempfile.gettempdir()) / f"openkimi-{os.getuid()}"


@asynccontextmanager
async def listening(described: Described, reload: Callable[[], Awaitable[Reloaded]]) -> AsyncIterator[None]:
    """Do what this user's commands ask for; where there can be no socket, the log says why."""

    async def do(request: Request) -> Reply:
        return described if request.do == "describe" else await _tried(reload)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, ValueError):
                reply = await do(msgspec.json.decode(await reader.readline(), type=Request))
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    talks: set[asyncio.Task[None]] = set()

    try:
        directory = _own_directory()
        _sweep(directory)
        path = directory / f"{described.process}{_SUFFIX}"
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(connected, path)
    except (OSError, AttributeError, NotImplementedError) as error:
        log.info("no_control_socket", reason=in_one_line(error), remedy="reload by SIGHUP, or watch_config")
        yield
        return
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)
        for task in talks:
            task.cancel()


def gateways() -> list[tuple[Path, Described]]:
    """List this user's running gateways with their sockets; sockets that nobody listens at are removed.

    Raises:
        RequestError: the system has no such sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise RequestError("this system has no Unix sockets: set server.watch_config for files that change")
    found = []
    for directory in filter(_is_private, directories()):
        _sweep(directory)
        for path in sorted(directory.glob(f"*{_SUFFIX}")):
            try:
                reply = ask(path, Request(do="describe"), seconds=_DESCRIBE_SECONDS)
            except (OSError, msgspec.MsgspecError):
                continue
            else:
                if isinstance(reply, Described):
                    found.append((path, reply))
    return found


def ask(path: Path, request: Request, *, seconds: float | None = None) -> Reply:
    """Ask the gateway behind a socket, and wait for what it says.

    Raises:
        OSError: it does not answer, or not within so many seconds.
        msgspec.MsgspecError: it says what this version does not know.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(path))
        client.sendall(msgspec.json.encode(request) + b"\n")
        with client.makefile("rb") as lines:
            line = lines.readline()
    if not line:
        raise ConnectionResetError("the gateway has ended")
    reply: Reply = msgspec.json.decode(line, type=Reply)
    return reply


async def _tried(reload: Callable[[], Awaitable[Reloaded]]) -> Reply:
    try:
        return await reload()
    except OpenKimiError as error:
        return Failed(reason=error.message, of_config=isinstance(error, ConfigError))
    except Exception as error:  # noqa: BLE001 - told to whoever asked
        return Failed(reason=in_one_line(error))


def _sweep(directory: Path) -> None:
    """Remove the sockets that nobody listens at: a gateway that a signal ends leaves its own."""
    for path in directory.glob(f"*{_SUFFIX}"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_CONNECT_SECONDS)
            try:
                client.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _own_directory() -> Path:
    """Make a directory that only this user may look into, in the first place where it can be.

    Raises:
        OSError: there is no such place.
    """
    for directory in directories():
        with suppress(OSError):
            directory.mkdir(mode=0o700)
        if _is_private(directory):
            return directory
    raise PermissionError(f"{directory} is not a directory that only this user may open")


def _is_private(directory: Path) -> bool:
    """Tell whether it is a directory of this user's that nobody else may look into."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
