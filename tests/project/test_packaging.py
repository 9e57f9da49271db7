"""What is built and shipped: the distribution, its pins, and the files that are committed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
THIRD_PARTY = ROOT / "tests" / "third_party"
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
THIRD_PYPROJECT: dict[str, Any] = tomllib.loads((THIRD_PARTY / "pyproject.toml").read_text("utf-8"))
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py"))
LIBRARIES = {"openkimi_gguf"}
REGISTERED = [name for name in PLUGINS if name not in LIBRARIES]
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?: ; (?P<marker>.+))? \\$")


def pins(requirements: str) -> dict[str, set[str]]:
    """Read the versions that a requirements file allows by the names of the packages."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / requirements).read_text("utf-8").splitlines():
        if match := PIN.match(line):
            found.setdefault(match["name"], set()).add(match["version"])
    return found


def run(*command: object, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# The files as they stand


def test_every_plugin_is_registered_and_typed() -> None:
    """A folder in plugins/ has a py.typed and, but for libraries, an entry point; each of these a folder."""
    registered = sorted(PYPROJECT["project"]["entry-points"]["openkimi"].values())

    assert registered == REGISTERED
    assert all((ROOT / "plugins" / name / "py.typed").is_file() for name in PLUGINS)
    assert (ROOT / "openkimi" / "py.typed").is_file()


@pytest.mark.parametrize("requirements", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_and_hashed(requirements: str) -> None:
    """Every requirement names one version and the hashes of its files, and no address."""
    lines = (ROOT / requirements).read_text("utf-8").splitlines()
    entries = [line for line in lines if not line.startswith("#")]

    wrong = [
        line
        for line in entries
        if not PIN.match(line) and not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line)
    ]

    assert wrong == []
    assert len(entries) > len(pins(requirements))


@pytest.mark.parametrize("requirements", ["requirements.txt", "requirements-dev.txt"])
def test_pins_are_within_the_declared_ranges(requirements: str) -> None:
    """What pyproject.toml asks for is pinned at a version that it allows."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["llama-cpp"], *extras["files"]]
    if requirements == "requirements-dev.txt":
        groups = PYPROJECT["dependency-groups"].values()
        declared += [entry for group in groups for entry in group if isinstance(entry, str)]
    pinned = pins(requirements)

    for wanted in map(Requirement, declared):
        assert pinned[wanted.name], wanted.name
        assert all(wanted.specifier.contains(version) for version in pinned[wanted.name]), wanted.name


def test_both_requirements_agree() -> None:
    """What is tested is what is shipped: the runtime's pins are the development's."""
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")

    assert {name: development[name] for name in runtime} == runtime


def test_no_committed_file_names_a_registry_or_a_machine() -> None:
    """Where packages come from and where a checkout lies are the user's business."""
    names = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "deb" + "ian.org")
    folders = ("wo" + "rk", "ro" + "ot", "opt/py" + "pi")
    pattern = re.compile("|".join([*map(re.escape, names), rf"(?<![\w.~-])/(?:{'|'.join(folders)})/"]))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")

    quoting = "benchmarks/data/questions.jsonl"  # from a handbook, which names hosts
    found = [
        f"{name}: {match[0]}"
        for name in tracked.stdout.split("\0")
        if name != quoting and (ROOT / name).is_file()
        for match in pattern.finditer((ROOT / name).read_text("utf-8", "replace"))
    ]

    assert found == []


def test_ci_sets_up_as_the_readme_says() -> None:
    """CI runs the very command that a new developer reads."""
    command = "python3 -m venv .venv && .venv/bin/pip install rust-just && .venv/bin/just test"

    assert command in (ROOT / "README.md").read_text("utf-8")
    assert command in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_image_is_made_of_files_that_exist() -> None:
    """What the Dockerfile copies is in the checkout and passes .dockerignore."""
    copied = [
        source
        for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    passed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }

    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {source.partition("/")[0] for source in copied} <= passed


def test_compose_publishes_on_loopback_only() -> None:
    """A port is open to the machine itself until somebody decides otherwise."""
    ports = re.findall(r'^ +- "?([\d.:]+:\d+)"?$', (ROOT / "compose.yaml").read_text("utf-8"), re.MULTILINE)

    assert ports == ["127.0.0.1:8000:8000"]


# The distribution, built and installed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel built from it and the wheel of the third-party plugin."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        folder,
        THIRD_PARTY,
        cwd=folder,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel of the distribution."""
    return next(built.glob("openkimi-*.whl"))


@pytest.fixture(scope="module")
def python(built: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment that has the base install and the third-party plugin."""
    folder = tmp_path_factory.mktemp("install")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    constraints = folder / "constraints.txt"
    lines = (ROOT / "requirements-dev.txt").read_text("utf-8").splitlines()
    constraints.write_text("\n".join(line.removesuffix(" \\") for line in lines if PIN.match(line)), "utf-8")
    plugin = next(built.glob("openkimi_shout-*.whl"))
    test_tools = THIRD_PYPROJECT["dependency-groups"]["test"]
    run(python, "-m", "pip", "install", "--constraint", constraints, wheel, plugin, *test_tools, cwd=folder)
    return python


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """The environment variables of somebody who has no checkout and no settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "OPENKIMI_CACHE_DIR": str(tmp_path / "cache")}


@pytest.mark.packaging
def test_the_wheel_holds_the_core_and_all_plugins(wheel: Path) -> None:
    """A wheel built from the sdist has every package with its py.typed at the top, and no tests."""
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")}
    modules = {
        path.relative_to(folder).as_posix()
        for folder in (ROOT, ROOT / "plugins")
        for package in folder.glob("openkimi*")
        for path in package.rglob("*.py")
    }

    assert packages == {"openkimi", *PLUGINS}
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    assert {name for name in names if name.endswith(".py")} == modules
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.packaging
def test_the_sdist_holds_no_tests_and_no_data(built: Path) -> None:
    """The source distribution is the code, the configs and the texts about it."""
    with tarfile.open(next(built.glob("openkimi-*.tar.gz"))) as sdist:
        tops = {name.split("/")[1] for name in sdist.getnames() if "/" in name}

    assert {"openkimi", "plugins", "config", "pyproject.toml", "README.md", "LICENSE"} <= tops
    assert not tops & {"tests", "benchmarks", "docs", "data", ".venv", "justfile"}


@pytest.mark.packaging
def test_a_base_install_lists_its_plugins(python: Path, outside: dict[str, str], tmp_path: Path) -> None:
    """All plugins load without the extras, the stranger's among them."""
    reports = json.loads(run(python.with_name("openkimi"), "plugins", "--json", cwd=tmp_path, env=outside))

    states = {report["module"]: report["state"] for report in reports}
    assert states == dict.fromkeys([*REGISTERED, "openkimi_shout"], "loaded")
    shout = next(report for report in reports if report["module"] == "openkimi_shout")
    assert (shout["distribution"], shout["kinds"]) == (
        "openkimi-shout",
        {"backend": ["shout"], "retriever": ["memory"]},
    )
    assert shout["commands"] == ["shout"]


@pytest.mark.packaging
def test_a_missing_extra_is_one_line_with_its_command(
    python: Path, outside: dict[str, str], tmp_path: Path
) -> None:
    """Asking for llama.cpp where it is not installed names the command that mends it."""
    config = write_config(tmp_path, {"llm": {"type": "llama-cpp", "model_path": "model.gguf"}})
    (tmp_path / "model.gguf").write_bytes(b"GGUF")

    done = subprocess.run(
        [python.with_name("openkimi"), "check", config],
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "openkimi[llama-cpp]" in done.stderr


@pytest.mark.packaging
def test_the_installed_gateway_answers(python: Path, outside: dict[str, str], tmp_path: Path) -> None:
    """The base install serves a chat over a document longer than its window, memory and embedder included."""
    config = write_config(tmp_path, {"llm": {"type": "dummy", "context_length": 1024}})
    checked = run(python.with_name("openkimi"), "check", config, cwd=tmp_path, env=outside)

    with serving(python, config, outside, tmp_path) as url:
        health = get(f"{url}/health")
        answer = chat(url, document(), "Who is the harbour master of Quarrel Bay?")

    assert "good" in checked
    assert health == {"status": "ok", "version": PYPROJECT["project"]["version"]}
    assert "Ines Vidal" in answer


@pytest.mark.packaging
def test_a_strangers_kinds_are_chosen_by_config(
    python: Path, outside: dict[str, str], tmp_path: Path
) -> None:
    """An installed third-party plugin serves as model and as document memory."""
    loud = write_config(tmp_path, {"llm": {"type": "shout", "suffix": "?!"}, "rag": {"type": "memory"}})
    with serving(python, loud, outside, tmp_path) as url:
        shouted = chat(url, document(), "who is there")
    asking = write_config(
        tmp_path, {"llm": {"type": "dummy", "context_length": 1024}, "rag": {"type": "memory"}}
    )
    with serving(python, asking, outside, tmp_path) as url:
        answered = chat(url, document(), "Who is the harbour master of Quarrel Bay?")

    assert shouted == "WHO IS THERE?!"
    assert "Ines Vidal" in answered
    assert not list(tmp_path.rglob("*.lance"))


@pytest.mark.packaging
def test_a_plugin_on_the_path_is_loaded_by_name(
    python: Path, outside: dict[str, str], tmp_path: Path
) -> None:
    """A module that is not installed is a plugin once ``plugins.load`` names it."""
    (tmp_path / "loud.py").write_text(
        "import openkimi\nfrom openkimi_shout.backend import open_shout, ShoutOptions\n\n"
        "@openkimi.hookimpl\ndef register_backends():\n"
        "    yield openkimi.Provider('loud', open_shout, ShoutOptions)\n",
        "utf-8",
    )
    config = write_config(tmp_path, {"llm": {"type": "loud"}, "plugins": {"load": ["loud"]}})

    checked = run(
        python.with_name("openkimi"),
        "check",
        config,
        cwd=tmp_path,
        env={**outside, "PYTHONPATH": str(tmp_path)},
    )

    assert "llm.type = loud" in checked


@pytest.mark.packaging
def test_a_strangers_own_tests_pass(python: Path, outside: dict[str, str], tmp_path: Path) -> None:
    """The third-party plugin's tests pass against the installed wheel."""
    options = ("-c", THIRD_PARTY / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider")

    printed = run(python, "-B", "-m", "pytest", *options, THIRD_PARTY, cwd=tmp_path, env=outside)

    assert re.search(r"\d+ passed", printed)


@pytest.mark.packaging
@pytest.mark.skipif(not (ROOT / ".venv" / "openkimi-setup").is_file(), reason="set up without just")
def test_just_serve_starts_and_stops_cleanly(tmp_path: Path) -> None:
    """The README's command serves the real model, and Ctrl-C ends it without a complaint."""
    config = msgspec.json.decode((ROOT / "config" / "config.json").read_bytes())
    config["rag"]["path"] = str(tmp_path / "lancedb")
    port, log = free_port(), tmp_path / "serve.log"
    command: list[str | Path] = [
        *(ROOT / ".venv" / "bin" / "just", "serve"),
        *("--config", write_config(tmp_path, config), "--port", str(port)),
    ]
    with log.open("wb") as output:
        just = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", just, log)
        answer = chat(f"http://127.0.0.1:{port}", "You are a helpful assistant.", "Who wrote Hamlet?")
        os.killpg(just.pid, signal.SIGINT)
        status = just.wait(30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(just.pid, signal.SIGKILL)
    printed = log.read_text("utf-8", "replace")

    assert "Shakespeare" in answer
    assert status in {0, 130}
    assert f"curl http://127.0.0.1:{port}/v1/chat/completions" in printed
    assert not re.search(r"Traceback|error:", printed), printed


def document() -> str:
    """Make a text of some 4,000 words with one sentence worth finding."""
    filler = [
        f"On day {day} the ferry carried {day * 7 % 90} sacks of flour to mill {day}." for day in range(300)
    ]
    filler.insert(170, "The harbour master of Quarrel Bay is Ines Vidal.")
    return "\n\n".join(filler)


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    """Write a config file."""
    path = folder / "config.json"
    path.write_bytes(msgspec.json.encode(config))
    return path


def free_port() -> int:
    """Find a port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serving(python: Path, config: Path, env: dict[str, str], cwd: Path) -> Iterator[str]:
    """Run the installed gateway on a free port of loopback and give its address."""
    port = free_port()
    command: list[str | Path] = [python, "-m", "openkimi.api.server", "--config", config, "--port", str(port)]
    with (cwd / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, cwd / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the address answers; fail with the server's log when it ends or takes too long."""
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        try:
            get(url)
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the gateway did not come up\n{log.read_text('utf-8', 'replace')}")


def get(url: str) -> Any:
    """Fetch JSON."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def chat(url: str, system: str, question: str) -> str:
    """Ask one question about a system message and return the answer."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps({"model": "any", "messages": messages, "temperature": 0, "max_tokens": 60}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        completion = json.load(response)
    assert completion["object"] == "chat.completion"
    return str(completion["choices"][0]["message"]["content"])
