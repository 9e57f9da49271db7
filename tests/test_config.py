"""The configuration: two phases, precedence, and errors before anything is opened."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from openkimi import ConfigError, KimiEngine
from openkimi.config import build_config, read_config
from openkimi.plugins import load_plugins
from openkimi.schema import config_schema
from openkimi.sections import parse_size

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / "config").glob("config*.json"))
CONFIGS = [path for path in SHIPPED if path.name != "config.schema.json"]


def message_of(raw: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config(raw, environ={}, **options)
    return caught.value.message


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_is_good(path: Path) -> None:
    """The configs that come with OpenKimi build, and fit the schema that they name."""
    raw = read_config(path)

    build_config(raw, environ={"OPENAI_API_KEY": "sk-test"})
    schema = json.loads((path.parent / raw["$schema"]).read_text("utf-8"))
    jsonschema.validate(raw, schema)


def test_the_shipped_schema_is_current() -> None:
    """config.schema.json is what `openkimi schema` writes."""
    shipped = json.loads((ROOT / "config/config.schema.json").read_text("utf-8"))

    assert shipped == json.loads(json.dumps(config_schema(load_plugins())))


def test_the_schema_refuses_what_the_config_refuses() -> None:
    """An editor that follows the schema marks a misspelt option."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"llm": {"type": "dummy", "replly": "x"}}, config_schema(load_plugins()))


def test_everything_has_a_default_that_works() -> None:
    """An empty config answers with the dummy model."""
    config = build_config({}, environ={})

    assert config.backend.provider.kind == "scripted"
    assert config.retriever.provider.kind == "lancedb"
    assert (config.server.host, config.server.port, config.mpr_candidates) == ("127.0.0.1", 8000, 1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"lllm": {}}, "lllm: unknown option; did you mean 'llm'?"),
        (
            {"llm": {"type": "lama-cpp"}},
            "llm.type: no plugin offers the backend 'lama-cpp'; did you mean 'llama-cpp'?",
        ),
        ({"llm": {"type": "dummy", "n_ctx": 1}}, "llm.n_ctx: unknown option"),
        ({"llm": {"type": 7}}, "llm.type: expected a string"),
        ({"llm": {"type": "dummy", "context_length": 100}}, "llm.context_length: expected int >= 256"),
        ({"rag": {"top_k": 0}}, "rag.top_k: expected int >= 1"),
        ({"server": {"port": "80"}}, "server.port: expected int, got str"),
        ({"server": {"max_body_size": "many"}}, "server.max_body_size: expected a size like 64MiB"),
        ({"server": {"max_body_size": "9" * 5000}}, "server.max_body_size: expected a size like 64MiB"),
        ({"llm": []}, "llm: expected"),
        ({"mpr_candidates": 0}, "mpr_candidates: expected int >= 1"),
        ({"mpr": {"sampling": "nothing"}}, "mpr.sampling: no plugin offers the sampler 'nothing'"),
        ({"plugins": {"load": ["no_such_module"]}}, "plugins.load[0]: no module named 'no_such_module'"),
        (
            {"server": {"tls": {"certificate": "a\0b", "key": "k"}}},
            "server.tls.certificate: must not hold the character NUL",
        ),
        (
            {"llm": {"type": "dummy", "reply": {"$env": "NOT_SET"}}},
            "llm.reply: the environment variable NOT_SET is not set",
        ),
        (
            {"embedder": {"type": "use"}, "rag": {"embedding_model": "use"}},
            "rag.embedding_model: an alias of embedder.type; give one",
        ),
        ({"llm": {"type": "local", "model_path": "/no/such.gguf"}}, "llm.model_path: there is no file"),
    ],
)
def test_an_error_says_where_and_what_to_do(raw: dict[str, Any], message: str) -> None:
    """Each mistake gives one line that starts with its place."""
    shown = message_of(raw)

    assert shown.startswith(message)
    assert "\n" not in shown


def test_a_value_from_the_environment_is_not_shown() -> None:
    """A key that landed in the wrong place does not appear in the message."""
    with pytest.raises(ConfigError) as caught:
        build_config({"server": {"port": {"$env": "KEY"}}}, environ={"KEY": "sk-secret"})

    assert caught.value.message == "server.port: expected int, got str"


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    """In code a path need not be a string."""
    config = build_config({"rag": {"path": tmp_path / "lancedb"}}, environ={})

    assert config.retriever.options.path == str(tmp_path / "lancedb")  # type: ignore[attr-defined]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf{}")

    assert read_config(path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5000, ": nested too deeply"),
        ('{\n  "llm": {},\n}', ":3:1: not valid JSON: "),
        ("[]", ": the config must be a JSON object, not list"),
        ("", ": not valid JSON"),
    ],
)
def test_wrong_json_is_told_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    """A file that is no JSON object is reported with the place of the mistake."""
    path = tmp_path / "config.json"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert str(path) + message in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A config that is not there is an error that names it."""
    with pytest.raises(ConfigError, match="nowhere.json: no such file"):
        read_config(tmp_path / "nowhere.json")


def test_the_inherited_keys_still_work(tmp_path: Path) -> None:
    """A config of the original OpenKimi builds, its values honoured."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    raw = {
        "llm": {"type": "local", "model_path": str(model), "device": "cpu", "context_length": 4096},
        "processor": {
            "batch_size": 512,
            "overlap_size": 32,
            "entropy_threshold": 0.3,
            "entropy_method": "word",
        },
        "rag": {"embedding_model": "use", "top_k": 5, "similarity_threshold": 0.7},
        "mpr_candidates": 3,
    }

    config = build_config(raw, environ={})

    assert config.backend.provider.kind == "llama-cpp"
    assert config.embedder.provider.kind == "use"
    assert (config.rag.top_k, config.rag.similarity_threshold, config.mpr_candidates) == (5, 0.7, 3)
    assert config.llm.context_length == 4096
    assert getattr(config.processor.options, "batch_size", None) == 512


def test_secrets_come_from_the_environment() -> None:
    """{"$env": "NAME"} stands for a variable, wherever it is."""
    config = build_config({"server": {"api_keys": [{"$env": "KEY"}]}}, environ={"KEY": "sk-1"})

    [key] = config.server.api_keys
    assert key.digest == hashlib.sha256(b"sk-1").digest()


def test_arguments_beat_the_file_and_the_file_beats_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path in the environment is used when none is given, and sections given in code win."""
    in_environment, given = tmp_path / "environment.json", tmp_path / "given.json"
    in_environment.write_text('{"mpr_candidates": 2}')
    given.write_text('{"mpr_candidates": 3}')
    monkeypatch.setenv("OPENKIMI_CONFIG_PATH", str(in_environment))

    assert KimiEngine().config.mpr_candidates == 2
    assert KimiEngine(given).config.mpr_candidates == 3
    assert KimiEngine(given, mpr_candidates=4).config.mpr_candidates == 4


@pytest.mark.parametrize(
    ("size", "expected"), [("64MiB", 64 * 2**20), ("10 mb", 10**7), (512, 512), ("1000", 1000)]
)
def test_sizes_are_read_as_people_write_them(size: int | str, expected: int) -> None:
    """A size is a number of bytes or has a unit."""
    assert parse_size(size, where="x") == expected
