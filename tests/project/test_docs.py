"""The documentation is true: its snippets run, its links lead somewhere, and nothing public is left out.

How a fenced block is tried depends on its language:

- ``python``: the blocks of a file run in order, in one program, in a folder that looks like a checkout with
  the dummy model and an embedder that loads nothing; a block that begins with ``# name.py`` is that file and
  lies in the folder instead;
- ``bash``: a block that calls http://127.0.0.1:8000 runs whole, and so does each line of ``openkimi …`` and
  ``python -m pytest …``;
- ``javascript`` runs with node, ``toml`` is parsed;
- ``json`` is a config, a request, or something that the gateway sends, and fits its type.

http://127.0.0.1:8000 becomes the address of a gateway with the dummy model.
"""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import aiohttp
import msgspec
import pytest

import openkimi
from openkimi import Backend, ContextSampler, Embedder, KimiEngine, Processor, Retriever, Synthesizer
from openkimi.api import schemas as wire
from openkimi.api.app import create_app
from openkimi.api.completions_schemas import Completion, CompletionLogprobs, CompletionRequest
from openkimi.api.convert import ask_of
from openkimi.api.documents_schemas import DeletedDocument, DocumentList, StoredDocument, UploadRequest
from openkimi.api.embeddings_schemas import EmbeddingList, EmbeddingRequest
from openkimi.api.explain_schemas import ExplainedPath, ExplanationObject
from openkimi.api.plugins_schemas import PluginList, PluginObject
from openkimi.api.responses_request import ResponsesRequest
from openkimi.api.server import main as server_command
from openkimi.api.tokenize_schemas import TokenCountList, TokenizeRequest
from openkimi.citations import Citation
from openkimi.config import RawConfig, build_config
from openkimi.explanation import BudgetTrace, Fate
from openkimi.path_receipt import MprReceipt, PathReceipt, Quote
from openkimi.plugins import HOOKS
from openkimi.receipt import DocumentReceipt, Extent, Passage, Receipt
from openkimi.testing import serving

ROOT = Path(__file__).parents[2]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
PAGES = (*READMES, *sorted((ROOT / "docs").glob("*.md")))
ADDRESS = "http://127.0.0.1:8000"
CONFIG = """{
  "llm": {"type": "dummy"},
  "embedder": {"type": "hashing"},
  "rag": {"type": "lancedb", "path": "data/lancedb"},
  "plugins": {"load": ["openkimi.testing.fakes"]}
}"""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w/]+\.(?:py|toml))\n")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CONTRACTS = (Backend, Embedder, Processor, Retriever, ContextSampler, Synthesizer)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


class Snippet(NamedTuple):
    """A fenced block; ``line`` is that of its first line in the page, from 1."""

    line: int
    language: str
    code: str

    @property
    def file_name(self) -> str | None:
        match = FILE_NAME.match(self.code)
        return match[1] if match else None


def snippets(page: Path, language: str) -> list[Snippet]:
    text = page.read_text("utf-8")
    blocks = [
        Snippet(text.count("\n", 0, match.start(2)) + 1, match[1], match[2]) for match in FENCE.finditer(text)
    ]
    return [block for block in blocks if block.language == language]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def section(page: str, heading: str) -> str:
    """Return what stands under a heading of a page, up to the next one of its rank or above."""
    text = FENCE.sub("", (ROOT / "docs" / page).read_text("utf-8"))
    match = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert match is not None, f"docs/{page} has no section {heading!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def run(*command: object, cwd: Path) -> str:
    """Run a command that must succeed, with this Python's commands at hand, and return what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    modules = os.pathsep.join(filter(None, (str(cwd), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": modules, "PATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like a checkout, with a config that loads nothing large and the files that pages show."""
    for name in ("config.json", "config/config.json", "config/config.zh.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(CONFIG)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/data").symlink_to(ROOT / "tests/data")
    for page in PAGES:
        for snippet in (*snippets(page, "python"), *snippets(page, "toml")):
            if snippet.file_name:
                (tmp_path / snippet.file_name).parent.mkdir(exist_ok=True)
                (tmp_path / snippet.file_name).write_text(snippet.code, "utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway in a process of its own, as a user starts it."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "config.json").write_text(CONFIG)
    with subprocess.Popen(
        [sys.executable, "-m", "openkimi.api.server", "--config", "config.json", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            greeting = next(line for line in server.stdout if "http://" in line)
            [found] = re.findall(r"http://[\d.:]+", greeting)
            _wait_for(f"{found}/health")
            yield found
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


# Snippets


@each_page
def test_python_snippets_run(page: Path, checkout: Path, address: str) -> None:
    """The Python of a page works from top to bottom, and the tests that it shows pass."""
    code = [snippet for snippet in snippets(page, "python") if not snippet.file_name]
    lines = [""] * (len(page.read_text("utf-8").splitlines()) + 1)
    for snippet in code:
        block = snippet.code.replace(ADDRESS, address).splitlines()
        lines[snippet.line - 1 : snippet.line - 1 + len(block)] = block
    (checkout / f"{page.stem}_snippets.py").write_text("\n".join(lines), "utf-8")
    shown = [snippet.file_name for snippet in snippets(page, "python") if snippet.file_name]
    tests = [name for name in shown if name.startswith("test_")]

    run(sys.executable, "-W", "error", f"{page.stem}_snippets.py", cwd=checkout)
    if shown:
        modules = ", ".join(name.removesuffix(".py") for name in shown)
        run(sys.executable, "-W", "error", "-c", f"import {modules}", cwd=checkout)
    if tests:
        run(sys.executable, "-m", "pytest", "-p", "pytest_asyncio.plugin", *tests, cwd=checkout)


@each_page
def test_shell_snippets_run(page: Path, checkout: Path, address: str) -> None:
    """What a page tells a user to type for a running gateway, and every ``openkimi`` command, works."""
    blocks = [snippet.code for snippet in snippets(page, "bash")]
    calls = [
        block.replace(ADDRESS, address).replace("curl ", "curl -fsS ") for block in blocks if ADDRESS in block
    ]
    commands = [
        line
        for block in blocks
        for line in block.splitlines()
        if line.startswith(("openkimi ", "python -m pytest"))
    ]

    for script in (*calls, *(line for line in commands if not line.startswith("openkimi serve"))):
        run("bash", "-euo", "pipefail", "-c", script, cwd=checkout)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@each_page
def test_javascript_snippets_run(page: Path, checkout: Path, address: str) -> None:
    """The JavaScript of a page reads what the gateway sends."""
    for snippet in snippets(page, "javascript"):
        (checkout / "snippet.mjs").write_text(snippet.code.replace(ADDRESS, address), "utf-8")

        assert run("node", "snippet.mjs", cwd=checkout).strip()


@each_page
def test_json_snippets_fit_their_types(page: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of JSON is a good config, a good request, or has only fields that the gateway sends."""
    monkeypatch.syspath_prepend(checkout)
    importlib.invalidate_caches()
    for snippet in snippets(page, "json"):
        value = msgspec.json.decode(snippet.code)
        if "messages" in value:
            ask_of(msgspec.convert(value, wire.ChatCompletionRequest))
        elif set(value) <= {field.encode_name for field in msgspec.structs.fields(RawConfig)}:
            build_config(value, environ=dict.fromkeys(re.findall(r'"\$env": "(\w+)"', snippet.code), "-"))
        else:
            _check_answer(value, f"{page.name}:{snippet.line}")


def _check_answer(value: dict[str, Any], where: str) -> None:
    """Check what the gateway sends; a page may leave fields out."""
    left_out = {"id": "", "created": 0, "model": ""}
    sent = msgspec.to_builtins(msgspec.convert(left_out | value, _kind_of(value)))

    assert _keys(value) <= _keys(sent), f"{where}: {_keys(value) - _keys(sent)} is never sent"


LISTS: dict[str, type[msgspec.Struct]] = {
    "document": DocumentList,
    "plugin": PluginList,
    "model": wire.ModelList,
    "embedding": EmbeddingList,
    "token_count": TokenCountList,
}


def _kind_of(value: dict[str, Any]) -> type[msgspec.Struct]:
    """Tell what the gateway would send such an object as."""
    if value.get("object") == "list":
        return LISTS[value["data"][0]["object"]]
    if value.get("object") == "text_completion":
        return Completion
    if value.get("object") == "openkimi.explanation":
        return ExplanationObject
    if value.get("object") in {"document", "document.deleted"}:
        return StoredDocument if value["object"] == "document" else DeletedDocument
    marks = {
        "choices": wire.ChatCompletion,
        "error": wire.ErrorBody,
        "compressed": Receipt,
        "planned": MprReceipt,
    }
    return next(kind for mark, kind in marks.items() if mark in value)


def _keys(value: Any) -> set[str]:
    if isinstance(value, list | tuple):
        return {key for item in value for key in _keys(item)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {f"{key}.{below}" for key, item in value.items() for below in _keys(item)}


@each_page
def test_toml_snippets_parse(page: Path) -> None:
    """Blocks of TOML are TOML."""
    for snippet in snippets(page, "toml"):
        tomllib.loads(snippet.code)


@each_page
def test_every_block_says_what_it_is(page: Path) -> None:
    """A language that nobody tries is ``text``."""
    fences = re.findall(r"^```(.*)$", page.read_text("utf-8"), re.MULTILINE)

    assert set(fences[::2]) <= {"python", "bash", "javascript", "json", "toml", "text"}
    assert set(fences[1::2]) <= {""}


# The README


async def test_the_router_that_the_readme_mounts_serves(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application of one's own answers on its own route and on the gateway's."""
    monkeypatch.chdir(checkout)
    monkeypatch.syspath_prepend(checkout)
    app = importlib.import_module("my_server").app

    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        async with http.get("/hello") as response:
            assert response.status == 200
        async with http.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello?"}]}
        ) as response:
            assert (await response.json())["object"] == "chat.completion"


@pytest.mark.model
async def test_the_default_model_gives_the_answer_that_the_readme_shows(tmp_path: Path) -> None:
    """The question of the README, asked of the default model, is answered as it is printed there."""
    readme = READMES[0].read_text("utf-8")
    question = "In which city was the Inter-American Conference on Problems of War and Peace held?"
    engine = KimiEngine(ROOT / "config/config.json", rag_config={"path": str(tmp_path / "lancedb")})
    body = {
        "messages": [
            {"role": "system", "content": (ROOT / "tests/data/truman-1946.txt").read_text("utf-8")},
            {"role": "user", "content": question},
        ],
        "temperature": 0,
    }

    async with (
        serving(create_app(engine)) as url,
        aiohttp.ClientSession(url) as http,
        http.post("/v1/chat/completions", json=body) as response,
    ):
        answer = (await response.json())["choices"][0]["message"]["content"]

    assert question in readme
    assert "Mexico City" in answer
    assert f'"content": "{answer}"' in readme


def test_the_first_commands_are_those_of_the_project() -> None:
    """The README starts with the command that the justfile names and that CI runs."""
    serve = "python3 -m venv .venv && .venv/bin/pip install rust-just && .venv/bin/just serve"
    test = serve.replace("just serve", "just test")

    assert serve in (ROOT / "justfile").read_text("utf-8")
    assert test in (ROOT / ".ci/run").read_text("utf-8")
    for readme, config in zip(READMES, ("", " --config config/config.zh.json"), strict=True):
        first, second, *_ = (snippet.code.strip() for snippet in snippets(readme, "bash"))
        assert (first, second) == (serve + config, test)


def test_both_readmes_have_the_same_sections() -> None:
    """English and Chinese readers get the same sections, in the same ranks, with the same snippets."""
    ranks = [re.findall(r"^#+(?= )", prose(readme), re.MULTILINE) for readme in READMES]
    blocks = [[match[1] for match in FENCE.finditer(readme.read_text("utf-8"))] for readme in READMES]

    assert ranks[0] == ranks[1]
    assert blocks[0] == blocks[1]


# Links


def _anchors(page: Path) -> set[str]:
    """Make the anchors of a page's headings as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the project names a file, and a heading of it where it says so."""
    for link in LINK.findall(prose(page)):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


# Completeness


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section(hook: str) -> None:
    """docs/plugins.md describes each hook under a heading of its name."""
    assert len(section("plugins.md", f"`{hook}`").strip()) > 100


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_is_described(contract: type) -> None:
    """docs/plugins.md names every method and attribute of each contract."""
    text = section("plugins.md", f"`register_{_role(contract)}s`")

    assert f"`{contract.__name__}`" in text
    for name, value in inspect.getmembers(contract):
        if not name.startswith("_"):
            assert re.search(rf"`{name}[`(]", text), f"{contract.__name__}.{name}: {value}"


def _role(contract: type) -> str:
    return {"ContextSampler": "sampler"}.get(contract.__name__, contract.__name__.lower())


def test_every_route_is_described(held: Any) -> None:
    """docs/api.md has a section for each route of the gateway."""
    app = create_app(KimiEngine(plugins=[held()], llm_config={"type": "held"}))
    routes = [
        f"{method} {re.sub(r':[a-z]+}', '}', route.path)}"
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method not in {"HEAD", "OPTIONS"} and not route.path.startswith("/schema")
    ]

    assert len(routes) > 4
    for route in routes:
        assert section("api.md", f"`{route}`")


@pytest.mark.parametrize(
    ("struct", "heading"),
    [
        (wire.ChatCompletionRequest, "Parameters"),
        (ResponsesRequest, "Parameters of a response"),
        (CompletionRequest, "Parameters of a completion"),
        (CompletionLogprobs, "Parameters of a completion"),
        (EmbeddingRequest, "Parameters of embeddings"),
        (TokenizeRequest, "Parameters of token counts"),
        (wire.OpenKimiOptions, "The `openkimi` object of a request"),
        (Receipt, "The receipt"),
        (DocumentReceipt, "The receipt"),
        (Passage, "The receipt"),
        (Extent, "The receipt"),
        (Citation, "Citations"),
        (wire.MprOptions, "Several reasoning paths"),
        (MprReceipt, "Several reasoning paths"),
        (PathReceipt, "Several reasoning paths"),
        (Quote, "Several reasoning paths"),
        (ExplanationObject, "`POST /v1/openkimi/explain`"),
        (ExplainedPath, "`POST /v1/openkimi/explain`"),
        (BudgetTrace, "`POST /v1/openkimi/explain`"),
        (PluginObject, "`GET /v1/plugins`"),
        (UploadRequest, "`POST /v1/documents`"),
        (StoredDocument, "`GET /v1/documents`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_field_is_described(struct: type[msgspec.Struct], heading: str) -> None:
    """docs/api.md names each field of what is sent and received."""
    text = section("api.md", heading)

    for field in msgspec.structs.fields(struct):
        assert re.search(rf"`(?:\w+\.)*{field.encode_name}(?:\.\w+)?`", text), field.encode_name


def test_every_fate_is_described() -> None:
    """docs/api.md says of each fate of a passage why it befell it."""
    text = section("api.md", "`POST /v1/openkimi/explain`")

    assert not [fate for fate in get_args(Fate) if f"`{fate}`" not in text]


def test_every_error_class_is_described() -> None:
    """docs/plugins.md names each error that a plugin may raise, docs/api.md each code of the core."""
    errors = [
        name
        for name in openkimi.__all__
        if isinstance(value := getattr(openkimi, name), type) and issubclass(value, openkimi.OpenKimiError)
    ]
    codes = {code for name in errors if (code := getattr(getattr(openkimi, name), "code", None))}

    assert not [name for name in errors if f"`{name}`" not in section("plugins.md", "Errors")]
    assert not [code for code in codes if f"`{code}`" not in section("api.md", "Errors")]


def test_every_option_of_the_server_is_described() -> None:
    """docs/configuration.md names each option of ``python -m openkimi.api.server``."""
    text = section("configuration.md", "The command line")

    for option in server_command.params:
        assert f"`{option.opts[0]}`" in text
