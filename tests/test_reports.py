"""What openkimi tells of itself: the configuration as it holds, and what is wrong with what it needs."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from openkimi import Finding, Provider, hookimpl
from openkimi.cli import main
from openkimi.config import build_config
from openkimi.doctor import doctor
from openkimi.effective import changed
from openkimi.examining import _component, examine, free_space
from openkimi.shell import wrapped
from openkimi.testing import gateway

SECRET = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with no config in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENKIMI_CONFIG_PATH", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def write(path: Path, **sections: Any) -> str:
    config = {"llm": {"type": "dummy"}, "server": {"port": free_port()}, **sections}
    path.write_text(json.dumps(config))
    return str(path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def options_of(*arguments: str) -> dict[str, tuple[Any, str, str | None]]:
    shown = json.loads(run("config", "--json", *arguments).stdout)["options"]
    return {each["option"]: (each["value"], each["origin"], each["source"]) for each in shown}


# openkimi config


def test_every_value_has_its_origin(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, file, environment or command line, each with its name, of core and plugins alike."""
    monkeypatch.setenv("DELAY", "1")
    path = write(
        nowhere / "c.json",
        llm={"type": "dummy", "reply": "Yes.", "fail_before": {"$env": "DELAY"}},
        rag={"persist": False},
        server={"rate_limit": {"requests_per_minute": 5}},
        plugins={"options": {"response_cache": {"ttl": 60}}},
    )

    shown = options_of("-c", path, "--port", "9000")

    assert shown["llm.type"] == ("scripted", "file", path)
    assert shown["llm.reply"] == ("Yes.", "file", path)
    assert shown["llm.fail_before"] == ("(hidden)", "environment", "DELAY")
    assert shown["llm.context_length"] == (None, "default", None)
    assert shown["embedder.type"] == ("use", "default", None)
    assert shown["rag.persist"] == (False, "file", path)
    assert shown["server.rate_limit.requests_per_minute"] == (5, "file", path)
    assert shown["server.port"] == (9000, "command line", "--port")
    assert shown["plugins.options.response_cache.ttl"] == (60, "file", path)
    assert shown["plugins.options.response_cache.enabled"] == (False, "default", None)


def test_nothing_secret_is_shown(nowhere: Path) -> None:
    """Keys, passwords and what stands in an address before the @ are hidden; names of files are not."""
    path = write(
        nowhere / "c.json",
        llm={"type": "api", "api_url": "http://127.0.0.1/v1", "model_name": "m"}
        | {"api_key": SECRET, "context_length": 4096},
        rag={"path": f"s3://user:{SECRET}@b/c", "storage_options": {"aws_secret_access_key": SECRET}},
        server={"api_keys": [SECRET, {"name": "ada", "key": SECRET + "2"}]},
    )

    plain, as_json = run("config", "-c", path), run("config", "-c", path, "--json")

    assert plain.exit_code == as_json.exit_code == 0
    assert SECRET not in plain.stdout + as_json.stdout
    assert "s3://(hidden)@b/c" in plain.stdout
    assert '{"name":"ada","key":"(hidden)"}' in plain.stdout


def test_a_config_that_is_read_again_has_not_changed() -> None:
    """What a reload tells to be other is other: keys and secrets are compared by what they are."""
    limited = {"name": "ada", "key": SECRET + "2", "rate_limit": {"requests_per_minute": 5}}
    raw = {"server": {"api_keys": [SECRET, limited], "rate_limit_store": "redis://:secret@h"}}
    other = {"server": {**raw["server"], "api_keys": [SECRET]}}

    assert changed(build_config(raw), build_config(raw)) == []
    assert changed(build_config(raw), build_config(other)) == ["server.api_keys"]


def test_without_a_config_the_defaults_are_shown(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's config counts where none is given, and is named."""
    assert {origin for _, origin, _ in options_of().values()} == {"default"}

    monkeypatch.setenv("OPENKIMI_CONFIG_PATH", write(nowhere / "c.json"))

    assert options_of()["llm.type"][1] == "file"
    assert "OPENKIMI_CONFIG_PATH" in run("config").stdout


def test_a_config_that_is_wrong_is_an_error_as_ever(nowhere: Path) -> None:
    """One line, status 2."""
    result = run("config", "-c", write(nowhere / "c.json", llm={"type": "nope"}))

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


# All that is wrong with a config

WRONG = {
    "llm": {"type": "dummy", "reply": 1},
    "embedder": {"type": "uze"},
    "processor": {"entropy_metod": "compression"},
    "rag": {"embedding_model": "use", "top_k": 0},
    "mpr": {"sampling": "nope", "gate": "no"},
    "server": {"port": "x", "api_keys": [{"$env": "NOT_SET"}], "allowed_ips": ["here"]},
    "plugins": {"load": ["made_nowhere"], "public": ["metric"], "options": {"metrics": {"enabled": 1}}},
    "preloads": [],
}
PLACES = (
    "llm.reply: expected str",
    "embedder.type: no plugin offers the embedder 'uze'; did you mean 'use'?",
    "processor.entropy_metod: unknown option; did you mean 'entropy_method'?",
    "rag.embedding_model: an alias of embedder.type",
    "rag.top_k: expected int >= 1",
    "mpr.sampling: no plugin offers the sampler 'nope'",
    "mpr.gate: expected bool",
    "server.port: expected int, got str",
    "server.api_keys[0]: the environment variable NOT_SET is not set",
    "server.allowed_ips[0]: ",
    "plugins.load[0]: no module named 'made_nowhere'",
    "plugins.public[0]: there is no plugin 'metric'; did you mean 'metrics'?",
    "plugins.options.metrics.enabled: expected bool",
    "preloads: unknown option; did you mean 'preload'?",
)


def test_check_and_doctor_tell_all_that_is_wrong(nowhere: Path) -> None:
    """Each section, and each option of those without a kind, has a line, and nothing is told twice."""
    path = nowhere / "c.json"
    path.write_text(json.dumps(WRONG))

    checked, examined = run("check", str(path)), run("doctor", str(path))

    lines = checked.stderr.splitlines()
    assert (checked.exit_code, examined.exit_code) == (2, 1)
    assert len(lines) == len(PLACES)
    for place in PLACES:
        assert [line for line in lines if line.startswith(f"openkimi: {place}")], place
        assert f"FAIL  config: {place}" in examined.stdout


def test_what_ends_a_start_beside_the_config_is_told_together(nowhere: Path) -> None:
    """A file to preload, a certificate: one does not hide the other."""
    tls = {"certificate": "/no/such.pem", "key": "/no/such.key"}

    result = run("check", write(nowhere / "c.json", preload=["/no/such.txt"], server={"tls": tls}))

    assert result.exit_code == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        "preload[0]",
        "server.tls.certificate",
    ]


def test_a_long_line_is_broken_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to a file or a program stays one line."""
    monkeypatch.setenv("COLUMNS", "20")
    terminal, file = StringIO(), StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)

    assert wrapped("FAIL  one two three four", terminal, indent="      ") == "FAIL  one two three\n      four"
    assert wrapped("FAIL  one two three four", file, indent="") == "FAIL  one two three four"


# openkimi doctor


def findings(path: str | None) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(path)}


def test_what_is_well_ends_with_0(nowhere: Path) -> None:
    """Everything that the gateway needs is looked at, and each line says what was found."""
    path = write(nowhere / "c.json", rag={"path": str(nowhere / "store")})

    result = run("doctor", "-c", path)

    assert result.exit_code == 0, result.output
    for what in (
        "Python: ",
        "packages: ",
        "extra files: ",
        "plugins: ",
        "document memory: ",
        "address 127.",
    ):
        assert f"  {what}" in result.stdout
    assert not (nowhere / "store").exists()


def test_what_is_broken_ends_with_1_and_says_what_to_do(nowhere: Path) -> None:
    """A port in use, a config that is wrong: the line says so, and the next one what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = write(nowhere / "c.json", server={"port": taken.getsockname()[1]})

        result, as_json = run("doctor", "-c", path), run("doctor", "-c", path, "--json")

    assert result.exit_code == as_json.exit_code == 1
    assert "FAIL  address" in result.stdout
    assert "choose another server.port" in result.stdout
    broken = [each["what"] for each in json.loads(as_json.stdout) if each["state"] == "broken"]
    assert broken == [f"address 127.0.0.1:{taken_port(path)}"]
    assert run("doctor", "-c", write(nowhere / "d.json", llm={"type": "nope"})).exit_code == 1


def test_an_address_where_something_else_than_http_is_spoken_is_in_use(nowhere: Path) -> None:
    """What answers there need not be a web server, as where the port is that of SSH."""

    def greet() -> None:
        connection, _ = taken.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        greeting = threading.Thread(target=greet)
        greeting.start()
        found = findings(write(nowhere / "c.json", server={"port": port}))
        greeting.join()

    assert "choose another server.port" in str(found[f"address 127.0.0.1:{port}"].remedy)


def taken_port(path: str) -> int:
    return int(json.loads(Path(path).read_text())["server"]["port"])


def test_a_plugin_that_fails_is_found(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken plugin is a note with its reason; one that the config needs is broken."""
    monkeypatch.syspath_prepend(nowhere)
    (nowhere / "made_broken.py").write_text("raise RuntimeError('no luck')")
    plugins = {"load": ["made_broken"]}

    noted = findings(write(nowhere / "c.json", plugins=plugins))["plugin made_broken"]
    needed = findings(write(nowhere / "d.json", plugins={**plugins, "options": {"made_broken": {}}}))[
        "config"
    ]

    assert (noted.state, noted.says) == ("warning", "failed: RuntimeError: no luck")
    assert '"block": ["made_broken"]' in (noted.remedy or "")
    assert (needed.state, "no luck" in needed.says) == ("broken", True)


DIVIDING = """
from openkimi import BackendWrapper, hookimpl

class Dividing(BackendWrapper):
    async def generate(self, request):
        yield 1 / 0

@hookimpl
def wrap_backend(backend):
    return Dividing(backend)
"""


@pytest.mark.parametrize("keys", [[], [{"name": "ada", "key": SECRET}]], ids=["without keys", "with keys"])
async def test_a_gateway_that_runs_is_asked_for_its_plugins(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, keys: list[Any]
) -> None:
    """What a plugin did wrong at a request is told, too, where no key is needed to be told."""
    monkeypatch.syspath_prepend(nowhere)
    (nowhere / "made_dividing.py").write_text(DIVIDING)
    config = {"server": {"api_keys": keys}, "plugins": {"load": ["made_dividing"]}}
    asked, headers = {"messages": [{"role": "user", "content": "Hello?"}]}, {"X-API-Key": SECRET}
    async with gateway({"llm": {"type": "dummy"}, **config}) as url, aiohttp.ClientSession(url) as http:
        async with http.post("/v1/chat/completions", json=asked, headers=headers) as response:
            assert response.status == 500
        port = int(url.rpartition(":")[2])
        found = await asyncio.to_thread(findings, write(nowhere / "c.json", server={"port": port}))

    assert "answers there already" in found[f"address 127.0.0.1:{port}"].says
    if keys:
        assert found["plugins at work"].remedy == "ask GET /v1/plugins with one"
        return
    fault = found["plugin made_dividing at work"]
    assert (fault.state, "ZeroDivisionError" in fault.says) == ("warning", True)


def test_a_plugin_without_hooks_is_found(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded and does nothing, which its author did not mean."""
    monkeypatch.syspath_prepend(nowhere)
    (nowhere / "made_mute.py").write_text("def register_backends():\n    return []\n")

    found = findings(write(nowhere / "c.json", plugins={"load": ["made_mute"]}))["plugin made_mute"]

    assert (found.state, found.says) == ("warning", "has no hooks")
    assert "@hookimpl" in (found.remedy or "")


@pytest.mark.parametrize(
    ("diagnose", "state", "says"),
    [
        (lambda options: [Finding(what="x", says="fine")], "good", "fine"),
        (lambda options: 1 / 0, "broken", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_looks_at_what_it_needs_itself(diagnose: Any, state: str, says: str) -> None:
    """Provider.diagnose tells what the core cannot know; one that fails is a finding."""

    def register_embedders() -> Any:
        return [Provider("ours", None, diagnose=diagnose)]  # type: ignore[arg-type]

    plugin = SimpleNamespace(__name__="ours", register_embedders=hookimpl(register_embedders))
    config = build_config({"embedder": {"type": "ours"}}, plugins=[plugin])

    [finding] = _component(config.embedder)

    assert (finding.state, finding.says) == (state, says)


def test_a_store_is_opened_and_its_documents_are_counted(nowhere: Path) -> None:
    """A table that LanceDB cannot open is broken; one that it can is counted, and nothing is changed."""
    path = write(nowhere / "c.json", rag={"path": str(nowhere / "store")})
    (nowhere / "a.txt").write_text("The tower is red.")
    assert run("ingest", "a.txt", "-c", path).exit_code == 0

    assert "1 documents" in [f.says for f in examine(path) if f.what == "document memory"][-1]

    for file in (nowhere / "store").rglob("*.manifest"):
        file.write_bytes(b"broken")
    broken = [finding for finding in examine(path) if finding.what == "document memory"][-1]
    assert (broken.state, "does not open" in broken.says) == ("broken", True)


@contextmanager
def cached_model(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[None]:
    (folder / "models").mkdir()
    (folder / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(content)
    monkeypatch.setenv("OPENKIMI_CACHE_DIR", str(folder))
    yield


def test_a_model_file_is_checked(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the catalogue that is not the right one is broken, one that is missing is fetched."""
    pytest.importorskip("xllamacpp")
    path = write(nowhere / "c.json", llm={"type": "xllamacpp", "model_path": "smollm2-135m-instruct"})
    monkeypatch.setenv("OPENKIMI_CACHE_DIR", str(nowhere / "empty"))

    missing = findings(path)["model"]
    with cached_model(nowhere, monkeypatch, b"GGUF"):
        wrong = findings(path)["model"]

    assert (missing.state, missing.remedy) == ("warning", "openkimi models pull smollm2-135m-instruct")
    assert (wrong.state, "4 bytes instead of" in wrong.says) == ("broken", True)


def test_a_disk_that_fills_up_is_a_warning() -> None:
    """Less than a gibibyte is scarce."""
    assert free_space("disk", 5 << 30).state == "good"
    assert free_space("disk", 5 << 20).state == "warning"


def test_the_commands_help_says_what_they_do() -> None:
    """Both are listed."""
    shown = run("--help").stdout

    assert "  config " in shown
    assert doctor.name is not None
    assert f"  {doctor.name} " in shown
