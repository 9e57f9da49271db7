"""The command line: starts, stops, and says in one line what is wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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
def running(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start the server and yield its address, read from what it prints."""
    process = subprocess.Popen(
        [*SERVER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"on (http://\S+) ", line):
                break
        else:
            raise AssertionError("the server ended without serving")
        yield found[1], process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()  # type: ignore[union-attr]


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.load(response)
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
