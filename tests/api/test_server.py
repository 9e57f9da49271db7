"""The command line: starts, stops, and says in one line what is wrong."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from openkimi.api.server import _warn
from openkimi.config import build_config

SERVER = [sys.executable, "-m", "openkimi.api.server"]


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Write a config file: ``config(llm={...})`` gives its path."""

    def write(text: str | None = None, **sections: Any) -> str:
        default = {"llm": {"type": "dummy", "reply": "Yes."}, "rag": {"type": "lancedb", "persist": False}}
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**default, **sections}) if text is None else text)
        return str(path)

    return write


def refused(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run the server with arguments that it refuses, and return its status and what it says."""
    environment = {**os.environ, **environ}
    done = subprocess.run(
        [*SERVER, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    return done.returncode, done.stderr


@contextmanager
def running(*arguments: str, log: Any = subprocess.DEVNULL) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start the server and yield its address, read from what it prints."""
    process = subprocess.Popen([*SERVER, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"on (https?://\S+) ", line):
                break
        else:
            raise AssertionError("the server ended without serving")
        yield found[1], process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()  # type: ignore[union-attr]


def post(url: str, body: Any, *, context: ssl.SSLContext | None = None, **headers: str) -> Any:
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)
        except (ConnectionError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_stops_it_cleanly(config: Any, stop: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with a clean status, soon."""
    with running("--config", config(), "--port", "0") as (url, process):
        answer = post(url, {"messages": [{"role": "user", "content": "Hello?"}]})
        process.send_signal(stop)
        status = process.wait(15)

    assert answer["choices"][0]["message"]["content"] == "Yes."
    assert status in {0, 130, -stop}


def test_ctrl_c_ends_a_running_stream_with_words(config: Any) -> None:
    """A client in the middle of a stream is told, and the server does not wait for the answer's end."""
    path = config(llm={"type": "dummy", "reply": "word " * 4000, "token_delay": 0.05})
    body = json.dumps({"messages": [{"role": "user", "content": "Hello?"}], "stream": True}).encode()

    with running("--config", path, "--port", "0") as (url, process):
        request = urllib.request.Request(f"{url}/v1/chat/completions", body)
        with urllib.request.urlopen(request, timeout=30) as response:
            response.readline()
            process.send_signal(signal.SIGINT)
            rest = response.read().decode()
        status = process.wait(15)

    assert "the gateway is being stopped" in rest.strip().rpartition("\n\n")[2]
    assert status in {0, 130, -signal.SIGINT}


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_does_not_wait_for_who_reads_nothing(config: Any, tmp_path: Path, signals: int) -> None:
    """A client that took nothing cannot be told; it is cut off, and nothing complains."""
    path = config(llm={"type": "dummy", "reply": "word " * 100_000, "context_length": 1_000_000})
    body = json.dumps({"messages": [{"role": "user", "content": "Hello?"}], "stream": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)

    with (tmp_path / "log").open("w") as log, running("--config", path, "--port", "0", log=log) as served:
        url, process = served
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(head + body)
            time.sleep(1)
            for _ in range(signals):
                process.send_signal(signal.SIGINT)
                time.sleep(0.1)
            status = process.wait(30)

    said = (tmp_path / "log").read_text()
    assert status in {130, -signal.SIGINT}
    assert "Traceback" not in said
    assert "timeout graceful shutdown exceeded" not in said


def test_the_second_of_two_servers_on_one_port_is_told_at_once(config: Any) -> None:
    """The port is held from the start on, also while a model is being loaded."""
    with running("--config", config(), "--port", "0") as (url, _):
        status, said = refused("--config", config(), "--port", url.rpartition(":")[2])

    assert status == 2
    assert "cannot listen on" in said


def test_the_command_line_beats_the_file(config: Any) -> None:
    """--mpr-candidates and --port override the config."""
    path = config(mpr_candidates=1, server={"port": 1})

    with running("-c", path, "--port", "0", "--mpr-candidates", "2") as (url, _):
        answer = post(url, {"messages": [{"role": "user", "content": "Hello?"}]})

    assert answer["openkimi"]["paths"] == 2


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"text": '{"llm": {,}}'}, "not valid JSON"),
        ({"lllm": {}}, "lllm: unknown option; did you mean 'llm'?"),
        ({"llm": {"type": "dummy", "delay": "long"}}, "llm.delay: expected float, got str"),
        ({"llm": {"type": "llama-cpp", "model_path": "/no/such/model.gguf"}}, "/no/such/model.gguf"),
        ({"preload": ["/no/such/book.txt"]}, "preload[0]: no file matches"),
    ],
)
def test_what_is_wrong_is_one_line_and_no_traceback(
    config: Any, sections: dict[str, Any], message: str
) -> None:
    """A config that does not load ends the start with its reason."""
    status, said = refused("--config", config(**sections), "--port", "0")

    assert status == 2
    assert message in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("openkimi: ")]) == 1


def test_a_missing_config_is_named() -> None:
    """The config's path is in the message."""
    status, said = refused("--config", "/no/such/config.json")

    assert (status, said.strip()) == (
        2,
        "openkimi: /no/such/config.json: no such file; give the config's path with --config",
    )


def test_without_a_config_the_option_is_asked_for() -> None:
    """--config is required, unless OPENKIMI_CONFIG_PATH gives it."""
    status, said = refused(OPENKIMI_CONFIG_PATH="")

    assert status == 2
    assert "--config" in said


def test_a_port_in_use_is_told_before_anything_is_loaded(config: Any) -> None:
    """The address is taken first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        status, said = refused("--config", config(), "--port", str(port))

    assert status == 2
    assert f"openkimi: cannot listen on 127.0.0.1:{port}: Address already in use; choose another" in said


@pytest.mark.parametrize(
    ("program", "module"),
    [
        (["openkimi.api.server"], "openkimi.engine"),
        (["openkimi.api.server"], "uvicorn"),
        (["openkimi", "serve"], "uvicorn"),
    ],
)
def test_ctrl_c_while_modules_are_imported_is_no_failure(
    config: Any, program: list[str], module: str
) -> None:
    """In the half second before there is anything to stop, Ctrl-C ends it at once and without a word."""
    command = [sys.executable, "-X", "importtime", "-m", *program, "--config", config(), "--port", "0"]
    said: list[str] = []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(rf"\b{re.escape(module)}$", line):
                process.send_signal(signal.SIGINT)
            if not line.startswith("import time:"):
                said.append(line)
        status = process.wait(30)
    finally:
        process.kill()
        process.wait(30)
        process.stderr.close()  # type: ignore[union-attr]

    assert status == 130
    assert said == []


# HTTPS


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make certificates that sign themselves: ``pem(name)`` gives the paths of one and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("pem")

    def make(name: str, *, password: str | None = None) -> dict[str, str]:
        files = {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}
        protection = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        output = ["-keyout", files["key"], "-out", files["certificate"], *protection]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", *names, *output]
        subprocess.run(command, check=True, capture_output=True)
        return files

    return make


@pytest.mark.parametrize("password", [None, "a word"])
def test_it_serves_https(config: Any, pem: Any, password: str | None) -> None:
    """With a certificate the gateway speaks HTTPS and says so, also where the key is encrypted."""
    files = pem("good", password=password)
    tls = files if password is None else {**files, "key_password": password}
    context = ssl.create_default_context(cafile=files["certificate"])

    with running("--config", config(server={"tls": tls}), "--port", "0") as (url, _):
        answer = post(url, {"messages": [{"role": "user", "content": "Hello?"}]}, context=context)

    assert url.startswith("https://")
    assert answer["choices"][0]["message"]["content"] == "Yes."


def test_a_certificate_that_cannot_be_used_ends_the_start(config: Any, pem: Any, tmp_path: Path) -> None:
    """Each mistake is one line that names the file at fault; nobody is asked for a password."""
    one, other, locked = pem("one"), pem("other"), pem("locked", password="a word")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    wrong = {
        "server.tls.certificate: /no/such.pem: cannot be read": {**one, "certificate": "/no/such.pem"},
        "server.tls.key: /no/such.key: cannot be read": {**one, "key": "/no/such.key"},
        f"server.tls.key: {other['key']} is not the key of the certificate": {**one, "key": other["key"]},
        "server.tls.key_password: does not open": locked,
        "server.tls.key_password: does not": {**locked, "key_password": "another"},
        "are no certificate and private key in PEM format": {**one, "certificate": str(text)},
    }

    for message, tls in wrong.items():
        status, said = refused("--config", config(server={"tls": tls}), "--port", "0")
        assert status == 2
        assert message in said
        assert "another" not in said
        assert len(said.strip().splitlines()) == 1


# What strangers could reach, and what the log shows


@pytest.mark.parametrize(
    ("host", "server", "warnings"),
    [
        ("127.0.0.1", {}, []),
        ("127.0.0.5", {}, []),
        ("::1", {}, []),
        ("0.0.0.0", {}, ["no_api_key"]),
        ("::", {}, ["no_api_key"]),
        ("192.0.2.1", {}, ["no_api_key"]),
        ("fe80::1%eth0", {}, ["no_api_key"]),
        ("0.0.0.0", {"api_keys": ["sk-0123456789abcdef"]}, []),
        ("0.0.0.0", {"api_keys": ["hello"]}, ["short_api_key"]),
        ("127.0.0.1", {"api_keys": [{"name": "a", "key": "hello"}]}, ["short_api_key"]),
    ],
)
def test_what_lets_strangers_in_is_warned_of(host: str, server: dict[str, Any], warnings: list[str]) -> None:
    """An address that others reach wants a key, and a key that can be guessed is none."""
    with structlog.testing.capture_logs() as logged:
        _warn(build_config({"server": server}).server, host)

    assert [entry["event"] for entry in logged] == warnings
    assert all("openkimi keys new" in entry["remedy"] for entry in logged)
    assert "hello" not in repr(logged)


def test_no_key_is_in_the_log_at_any_level(config: Any, tmp_path: Path) -> None:
    """No key, right or wrong, and no store's password is shown, not even in part, at level debug."""
    secrets = [
        "alicesecret0123456789",
        "bobsecret0123456789",
        "filesecret0123456789",
        "wrongsecret0123456789",
    ]
    alice, bob, filed, wrong = secrets
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{"name": "filed", "key": filed}]))
    server = {
        "api_keys": [alice, {"name": "bob", "key": bob}],
        "api_keys_file": str(keys),
        "rate_limit": {"requests_per_minute": 100, "tokens_per_minute": 100},
        "rate_limit_store": "redis://user:storesecret0123456789@127.0.0.1:1/0",
    }
    path, log = config(server=server), tmp_path / "log"
    hello = {"messages": [{"role": "user", "content": "Hello?"}]}

    with log.open("w") as stream:
        with running("--config", path, "--port", "0", "--log-level", "debug", log=stream) as (url, process):
            for key in (alice, bob, filed, wrong, f"{alice}x"):
                post(url, hello, Authorization=f"Bearer {key}")
                post(url, {"messages": key}, **{"X-Api-Key": key})
            keys.write_text("[" + json.dumps(filed))
            time.sleep(1.1)
            refusal = post(f"{url}/v1?key={alice}&x=", hello, Authorization=f"Bearer {wrong}")
            process.send_signal(signal.SIGINT)
            process.wait(15)
    check = subprocess.run(
        [sys.executable, "-m", "openkimi", "check", path], capture_output=True, text=True, check=False
    )
    text = log.read_text() + json.dumps(refusal) + check.stdout + check.stderr

    assert "rate_limit_store_failed" in text
    assert "request_refused" in text
    for secret in [*secrets, "storesecret0123456789"]:
        assert secret[:8] not in text
        assert secret[-8:] not in text


LOADING = """
import asyncio, time
from contextlib import asynccontextmanager
from openkimi import Provider, hookimpl


@asynccontextmanager
async def opened(options, context):
    print("loading", flush=True)
    {what}
    yield None


@hookimpl
def register_backends():
    yield Provider("slow", opened)
"""


@pytest.fixture
def loads(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a config whose model loads as some code says."""

    def write(what: str) -> str:
        (tmp_path / "slow_plugin.py").write_text(LOADING.format(what=what))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return str(config(llm={"type": "slow"}, plugins={"load": ["slow_plugin"]}))

    return write


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_loading_of_a_model(loads: Any, stop: signal.Signals) -> None:
    """A thread that loads cannot be interrupted; nobody waits for it, and nothing complains."""
    command = [*SERVER, "--config", loads("await asyncio.to_thread(time.sleep, 600)"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(stop)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode in {130, -stop}
    assert "Traceback" not in said


def test_what_nobody_foresaw_ends_the_start_in_one_line(loads: Any) -> None:
    """A plugin that fails while it loads has its error shown, and its traceback only at level debug."""
    path = loads("raise RuntimeError('the disk\\n is gone')")

    status, said = refused("--config", path, "--port", "0", "--log-level", "error")
    _, at_length = refused("--config", path, "--port", "0", "--log-level", "debug")

    assert status == 1
    assert len(said.splitlines()) == 1
    assert "'slow' of the plugin slow_plugin could not be opened: RuntimeError: the disk is gone, at" in said
    assert "Traceback" in at_length
