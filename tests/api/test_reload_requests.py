"""How a running gateway is told to reload: by a signal, a command, or a file that changes."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from openkimi import control
from openkimi.api.config_watch import ConfigWatch
from openkimi.cli import main
from openkimi.control import Described, Reloaded
from openkimi.sections import ServerSection
from tests.api.test_server import SERVER, post, running

BROKEN = """
from openkimi import hookimpl
@hookimpl
def register_routes(app):
    raise ValueError("mend me")
"""
ON_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the sockets of a test's gateways to the test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("OPENKIMI_CONFIG_PATH", raising=False)
    return tmp_path / "openkimi"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Write the config as Kubernetes mounts it: a link into a directory that each change replaces.

    ``config("Yes.", server={...})`` gives its path, with a model that says yes.
    """
    data, path = tmp_path / "..data", tmp_path / "config.json"
    path.symlink_to("..data/config.json")

    def write(reply: str, **sections: Any) -> str:
        default = {"llm": {"type": "dummy", "reply": reply}, "rag": {"type": "lancedb", "persist": False}}
        before, link = data.resolve(), tmp_path / "..new"
        now = Path(tempfile.mkdtemp(prefix="..", dir=tmp_path))
        (now / "config.json").write_text(json.dumps({**default, **sections}))
        link.symlink_to(now.name)
        link.rename(data)
        shutil.rmtree(before, ignore_errors=True)
        return str(path)

    return write


def answer(url: str, **options: Any) -> str:
    return str(post(url, HELLO, **options)["choices"][0]["message"]["content"])


def until(what: Callable[[], bool]) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reload(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reload", *arguments])


def test_the_command_reloads_and_says_what_changed(
    config: Any, tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits till the new config holds, and tells what keeps it from that; a watch sees to it by itself."""
    path = config("Yes.")
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with running("-c", path, "--port", "0") as (url, process):
        config("No.", server={"port": 9, "watch_config": True}, plugins={"load": ["broken"]})
        done = reload()
        changed = answer(url)
        config("No.", llm={"type": "nobodys"})
        failed = reload("-c", path)
        other = reload("-c", str(tmp_path / "other.json"))
        elsewhere = reload("--pid", "1")
        sockets = list(runtime.iterdir())
        unchanged = answer(url)
        config("By itself.")
        until(lambda: answer(url) == "By itself.")
        process.send_signal(signal.SIGINT)
        process.wait(15)
    ended = reload()

    assert (changed, unchanged) == ("No.", "No.")
    assert (done.exit_code, failed.exit_code) == (0, 2)
    assert done.output == (
        f"{url} has read {path} anew: changed llm.reply, server.watch_config, plugins.load\n"
        "openkimi: the plugin broken is not in use: register_routes: ValueError: mend me\n"
        "openkimi: server.port takes effect when the gateway is started anew\n"
    )
    assert "no plugin offers the backend 'nobodys'" in failed.output
    assert f"{url} goes on with the config that it has" in failed.output
    assert [socket.name for socket in sockets] == [f"{process.pid}.sock"]
    assert (other.exit_code, elsewhere.exit_code, ended.exit_code) == (1, 1, 1)
    assert f"no gateway of this user serves {tmp_path / 'other.json'};" in other.output
    assert "no gateway of this user runs as process 1;" in elsewhere.output
    assert "no gateway of this user runs;" in ended.output
    assert list(runtime.iterdir()) == []


def test_a_certificate_is_renewed(config: Any, tmp_path: Path) -> None:
    """Who connects after a reload is shown what the files hold by then, also with another kind of key."""
    files = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}

    def certify(*kind: str) -> str:
        made = ["-nodes", "-subj", "/CN=it", "-keyout", files["key"], "-out", files["certificate"]]
        subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, *made], check=True, capture_output=True)
        return Path(files["certificate"]).read_text().strip()

    first = certify("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    with running("-c", config("Yes.", server={"tls": files}), "--port", "0") as (url, _):

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", int(url.rpartition(":")[2]))).strip()

        at_first = shown()
        second = certify("rsa:2048")
        done, then = reload(), shown()
        Path(files["certificate"]).write_text(first)
        failed, at_last = reload(), shown()

    assert at_first == first
    assert done.exit_code == 0
    assert then == at_last == second
    assert (failed.exit_code, "is not the key of the certificate" in failed.output) == (2, True)


@pytest.mark.parametrize("disposition", ["SIG_DFL", "SIG_IGN"])
def test_sighup_reloads_and_a_terminal_that_closes_ends_its_gateway(config: Any, disposition: str) -> None:
    """The same signal means the one or the other; nohup, which ignores it, keeps a gateway alive."""
    terminal, inside = os.openpty()
    arguments = [*SERVER[1:], "-c", config("Yes."), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, disposition, *arguments],
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    os.close(inside)
    assert process.stdout is not None
    with process.stdout:
        url = next(line for line in process.stdout if " on http" in line).partition(" on ")[2].split()[0]
        config("Reloaded.")
        process.send_signal(signal.SIGHUP)
        until(lambda: answer(url) == "Reloaded.")
        config("Again.")
        os.close(terminal)
        if disposition == "SIG_IGN":
            until(lambda: answer(url) == "Again.")
            process.terminate()
        status = process.wait(15)

    assert status in {0, -signal.SIGTERM}


def test_a_directory_of_somebody_else_is_not_used(runtime: Path) -> None:
    """Where others may look into, no socket is made."""
    runtime.mkdir(mode=0o755)

    async def listen() -> list[Path]:
        async with control.listening(Described(process=1, config="c", url="u"), no_reload):
            return await asyncio.to_thread(lambda: list(runtime.iterdir()))

    assert asyncio.run(listen()) == []


def test_a_socket_that_nobody_listens_at_is_removed(runtime: Path) -> None:
    """What a gateway left that was killed is removed by the command, and by the next gateway."""
    runtime.mkdir(mode=0o700)

    def left() -> None:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(runtime / "12.sock"))

    async def listen() -> list[str]:
        async with control.listening(Described(process=34, config="c", url="u"), no_reload):
            return await asyncio.to_thread(lambda: [path.name for path in runtime.iterdir()])

    left()
    found, then = control.gateways(), list(runtime.iterdir())
    left()

    assert (found, then) == ([], [])
    assert asyncio.run(listen()) == ["34.sock"]


def test_where_there_are_no_sockets_the_command_names_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has none."""
    monkeypatch.delattr("socket.AF_UNIX")

    refused = reload()

    assert refused.exit_code == 1
    assert "set server.watch_config" in refused.output


def test_files_of_somebody_else_are_left_alone(runtime: Path) -> None:
    """A directory that others may write into, or a link of theirs, tells no gateway and loses no file."""
    mine = runtime.parent / "mine"
    mine.mkdir(mode=0o700)
    (mine / "precious.sock").touch()
    runtime.symlink_to(mine)

    assert control.gateways() == []
    assert (mine / "precious.sock").exists()


async def no_reload() -> Reloaded:
    raise ValueError("broken")


async def test_of_several_gateways_one_has_to_be_named(tmp_path: Path) -> None:
    """The command lists them, and takes a process; whatever goes wrong there is told here."""
    path = str(tmp_path / "config.json")
    one, two = (Described(process=process, config=path, url=f"http://{process}") for process in (12, 34))

    async with control.listening(one, no_reload), control.listening(two, no_reload):
        unclear = await asyncio.to_thread(reload, "-c", path)
        clear = await asyncio.to_thread(reload, "--pid", "34")

    assert unclear.exit_code == 1
    assert f"--pid 12: {path} on http://12; --pid 34: {path} on http://34" in unclear.output
    assert clear.exit_code == 1
    assert "ValueError: broken\nhttp://34 goes on with the config that it has" in clear.output


async def test_a_half_written_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change counts once it has lasted from one look to the next, once, and only where it is wanted."""
    looks: list[Any] = []
    script = ["one", "one", "half", "two", "two", "two", None, None, "three", "three", "four", "four"]
    server = ServerSection(watch_config=True)

    def look(path: object) -> Any:
        nonlocal server
        looks.append(script.pop(0))
        if looks[-1] == "four":
            server = ServerSection()
        return None if looks[-1] is None else (len(looks[-1]), hash(looks[-1]))

    async def note() -> None:
        reloads.append(looks[-1])

    reloads: list[Any] = []
    monkeypatch.setattr("openkimi.api.config_watch.stamp_of", look)
    monkeypatch.setattr("openkimi.api.config_watch._LOOK_EVERY", 0)

    with pytest.raises(IndexError):
        await ConfigWatch("config.json", lambda: server, note).run()

    assert reloads == ["two", "three"]
