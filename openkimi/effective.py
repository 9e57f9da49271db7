"""The configuration as it holds, option by option, with where each value comes from and no secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from openkimi.api_keys import ApiKey
from openkimi.config import Chosen, Config, inherited
from openkimi.secrets import Secret

Origin = Literal["default", "file", "environment", "command line"]

HIDDEN = "(hidden)"
_TELLTALE = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_HARMLESS = frozenset({"llm.tokenizer", "llm.max_tokens_field", "server.api_keys_file", "server.tls.key"})
"""Options whose names only look like secrets; the last two name files."""
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an option; ``source`` is the file, the variable or the option that it comes from."""

    option: str
    value: Any
    origin: Origin
    source: str | None = None


def effective(
    config: Config, raw: Mapping[str, Any], *, path: str | None, overrides: Mapping[str, str] | None = None
) -> list[Effective]:
    """List every option of a config that was built from the values of a file.

    ``overrides`` names the options of the command line that replaced a value, by the option replaced.
    """
    given = inherited(dict(raw))
    return [
        _effective(option, value, given, path=path, overrides=overrides or {})
        for option, value in options_of(config)
    ]


def changed(before: Config, after: Config) -> list[str]:
    """Name the options whose values differ between two configs; an option that one has not differs, too."""
    old, new = dict(options_of(before)), dict(options_of(after))
    absent = object()
    return [name for name in {**old, **new} if old.get(name, absent) != new.get(name, absent)]


def options_of(config: Config) -> Iterator[tuple[str, Any]]:
    """List options with their values, section by section."""
    yield from _section("llm", config.backend, config.llm)
    yield from _section("embedder", config.embedder)
    if config.reranker is not None:
        yield from _section("reranker", config.reranker)
    yield from _section("processor", config.processor)
    yield from _section("rag", config.retriever, config.rag)
    yield "mpr_candidates", config.mpr_candidates
    yield from _flat("mpr", config.mpr)
    yield from _flat("server", config.server)
    yield "plugins.load", config.plugin_section.load
    yield "plugins.block", config.plugin_section.block
    yield "plugins.public", config.plugin_section.public
    for name, options in sorted(config.plugin_options.items()):
        yield from _flat(f"plugins.options.{name}", options)
    yield "preload", config.preload


def _section(name: str, chosen: Chosen[Any], core: msgspec.Struct | None = None) -> Iterator[tuple[str, Any]]:
    yield f"{name}.type", chosen.provider.kind
    found = dict(_flat(name, chosen.options))
    if core is not None:
        found |= dict(_flat(name, core))
    yield from found.items()


def _flat(name: str, struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(struct):
        place, value = f"{name}.{field.encode_name}", getattr(struct, field.name)
        if isinstance(value, msgspec.Struct):
            yield from _flat(place, value)
        else:
            yield place, value


def _effective(
    option: str, value: Any, given: Mapping[str, Any], *, path: str | None, overrides: Mapping[str, str]
) -> Effective:
    if option in overrides:
        return Effective(option=option, value=value, origin="command line", source=overrides[option])
    found = _given(given, option)
    if found is None:
        return Effective(option=option, value=_shown(option, value), origin="default")
    if isinstance(found, Mapping) and set(found) == {"$env"}:
        return Effective(option=option, value=HIDDEN, origin="environment", source=str(found["$env"]))
    return Effective(option=option, value=_shown(option, value), origin="file", source=path)


def _given(raw: Any, option: str) -> Any:
    """Return what the file has for an option, or the reference to the environment in its stead."""
    for step in option.split("."):
        if not isinstance(raw, Mapping) or set(raw) == {"$env"}:
            return raw if isinstance(raw, Mapping) and raw else None
        raw = raw.get(step)
    return raw


def _shown(option: str, value: Any) -> Any:
    """Write a value as JSON can hold it, without what must not be seen."""
    if isinstance(value, Secret):
        return HIDDEN if value else ""
    if isinstance(value, ApiKey):
        return {"name": value.name, "key": HIDDEN}
    if isinstance(value, str):
        return HIDDEN if value and _tells(option) else _USER_INFO.sub(HIDDEN, value)
    if isinstance(value, Mapping):
        return {key: _shown(f"{option}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(option, item) for item in value]
    return msgspec.to_builtins(value, enc_hook=repr)


def _tells(option: str) -> bool:
    return option not in _HARMLESS and _TELLTALE.search(option.rpartition(".")[2]) is not None
