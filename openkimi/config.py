"""config.json: its sections, where values come from, and errors that say where they are.

The command line beats the file, the file beats the environment. The sections are read in two phases: the
core's own keys first, then each section's remaining keys against the Struct of the kind it chose.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from openkimi.access import check_server
from openkimi.contracts import Backend, ContextSampler, Embedder, Processor, Retriever, Synthesizer
from openkimi.environment import with_environment
from openkimi.errors import ConfigError
from openkimi.options import convert_options
from openkimi.plugins import SECTIONS, Plugins, load_plugins
from openkimi.providers import Provider, Role
from openkimi.sections import (
    LlmSection,
    MprSection,
    PluginsSection,
    RagSection,
    Section,
    ServerSection,
)

T = TypeVar("T")

DEFAULT_KINDS: dict[str, str] = {
    "llm": "dummy",
    "embedder": "use",
    "processor": "entropy",
    "rag": "lancedb",
    "reranker": "e5",
}


class RawConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it stands, before the kinds are known."""

    schema: Annotated[str | None, msgspec.Meta(description="The JSON Schema for editors.")] = msgspec.field(
        default=None, name="$schema"
    )
    llm: dict[str, Any] = {}
    embedder: dict[str, Any] = {}
    processor: dict[str, Any] = {}
    rag: dict[str, Any] = {}
    mpr_candidates: Annotated[int, msgspec.Meta(ge=1, le=32)] = 1
    mpr: MprSection = MprSection()
    server: ServerSection = ServerSection()
    plugins: PluginsSection = PluginsSection()
    preload: tuple[str, ...] = ()
    reranker: dict[str, Any] = {}


class Chosen(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A kind that the config chose, with its options."""

    role: Role
    provider: Provider[T]
    options: msgspec.Struct


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration, checked; nothing has been opened yet."""

    backend: Chosen[Backend]
    embedder: Chosen[Embedder]
    reranker: Chosen[Embedder] | None
    processor: Chosen[Processor]
    retriever: Chosen[Retriever]
    sampler: Chosen[ContextSampler]
    synthesizer: Chosen[Synthesizer]
    llm: LlmSection
    rag: RagSection
    mpr: MprSection
    mpr_candidates: int
    server: ServerSection
    preload: tuple[str, ...]
    plugins: Plugins
    plugin_options: Mapping[str, msgspec.Struct]
    plugin_section: PluginsSection


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a config file into plain values.

    Raises:
        ConfigError: the file is not there, not readable, or not a JSON object.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; give the config's path with --config") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        raw = msgspec.json.decode(data)
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}{_position(data, str(error))}: not valid JSON: {_plain(str(error))}"
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: the config must be a JSON object, not {type(raw).__name__}")
    return raw


def build_config(
    raw: Mapping[str, Any],
    *,
    plugins: Iterable[object] = (),
    environ: Mapping[str, str] | None = None,
    loaded: Plugins | None = None,
) -> Config:
    """Check plain values and resolve every kind they name; opens nothing and loads no model.

    Plugins that are ``loaded`` already are taken as they are.

    Raises:
        ConfigError: names the place of the first thing that is wrong, and what to do.
    """
    values = with_environment(dict(raw), os.environ if environ is None else environ)
    if not isinstance(values, dict):
        raise ConfigError("the config must be a JSON object, not a value from the environment")
    values = inherited(values)
    core = convert_options(values, RawConfig, where="")
    check_server(core.server)
    found = loaded or _load(core.plugins, plugins)
    found.check_public(core.plugins.public)
    backend, llm = choose(found, "backend", core.llm, LlmSection)
    retriever, rag = choose(found, "retriever", core.rag, RagSection)
    return Config(
        backend=backend,
        embedder=choose(found, "embedder", core.embedder, Section)[0],
        reranker=choose_reranker(found, core.reranker) if core.reranker or rag.rerank_ms else None,
        processor=choose(found, "processor", core.processor, Section)[0],
        retriever=retriever,
        sampler=choose_by_name(found, "sampler", core.mpr.sampling),
        synthesizer=choose_by_name(found, "synthesizer", core.mpr.synthesis),
        llm=llm,
        rag=rag,
        mpr=core.mpr,
        mpr_candidates=core.mpr_candidates,
        server=core.server,
        preload=core.preload,
        plugins=found,
        plugin_options=found.options_of(core.plugins.options),
        plugin_section=core.plugins,
    )


def _load(section: PluginsSection, plugins: Iterable[object]) -> Plugins:
    found = load_plugins(section.load, section.block, plugins)
    found.refuse_absent()
    return found


S = TypeVar("S", bound=msgspec.Struct)


def choose_reranker(found: Plugins, section: Mapping[str, Any]) -> Chosen[Embedder]:
    """Choose the embedder that orders passages anew; its section is ``reranker``.

    Raises:
        ConfigError: see :func:`choose`.
    """
    return choose(found, "embedder", section, Section, name="reranker")[0]


def choose(
    found: Plugins, role: Role, section: Mapping[str, Any], core: type[S], *, name: str = ""
) -> tuple[Chosen[Any], S]:
    """Split a section into the core's keys and the chosen kind's own, which may share some.

    Raises:
        ConfigError: nobody offers the kind, or an option is wrong.
    """
    name = name or SECTIONS[role].partition(".")[0]
    kind = section.get("type", DEFAULT_KINDS[name])
    if not isinstance(kind, str):
        raise ConfigError(f"{name}.type: expected a string, got {type(kind).__name__}")
    provider = found.provider(role, kind, where=f"{name}.type")
    core_keys = set(core.__struct_fields__)
    kind_keys = {field.encode_name for field in msgspec.structs.fields(provider.config)}
    for_core = {key: value for key, value in section.items() if key in core_keys}
    for_kind = {
        key: value
        for key, value in section.items()
        if key != "type" and (key in kind_keys or key not in core_keys)
    }
    options = convert_options(for_kind, provider.config, where=name)
    chosen = Chosen(role=role, provider=provider, options=options)
    return _checked(chosen, name), convert_options(for_core, core, where=name)


def choose_by_name(found: Plugins, role: Role, kind: str) -> Chosen[Any]:
    """Choose a kind that has no options in the config.

    Raises:
        ConfigError: nobody offers the kind, or it needs options.
    """
    provider = found.provider(role, kind)
    chosen = Chosen(
        role=role, provider=provider, options=convert_options({}, provider.config, where=SECTIONS[role])
    )
    return _checked(chosen, SECTIONS[role])


def _checked(chosen: Chosen[Any], where: str) -> Chosen[Any]:
    if chosen.provider.check is not None:
        try:
            chosen.provider.check(chosen.options)
        except ConfigError as error:
            if error.message.startswith(f"{where}."):
                raise
            field, colon, _ = error.message.partition(":")
            named = colon and field in chosen.options.__struct_fields__
            raise type(error)(f"{where}{'.' if named else ': '}{error.message}") from error
    return chosen


def inherited(values: dict[str, Any]) -> dict[str, Any]:
    """Translate ``rag.embedding_model``, the original's name for the embedder."""
    rag = values.get("rag")
    if not isinstance(rag, dict) or "embedding_model" not in rag:
        return values
    if "embedder" in values:
        raise ConfigError("rag.embedding_model: an alias of embedder.type; give one of the two, not both")
    rest = {key: value for key, value in rag.items() if key != "embedding_model"}
    return {**values, "rag": rest, "embedder": {"type": rag["embedding_model"]}}


def _position(data: bytes, message: str) -> str:
    match = re.search(r"\(byte (\d+)\)", message)
    if match is None:
        return ""
    before = data[: int(match[1])]
    line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
    return f":{line}:{column}"


def _plain(message: str) -> str:
    return re.sub(r" \(byte \d+\)", "", message.removeprefix("JSON is malformed: "))
