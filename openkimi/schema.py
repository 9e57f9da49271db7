"""The JSON Schema of config.json, made of the same structs that check it."""

from __future__ import annotations

from typing import Any

import msgspec

from openkimi.api_keys import ApiKey, KeyEntry
from openkimi.config import DEFAULT_KINDS, RawConfig
from openkimi.plugins import SECTIONS, Plugins
from openkimi.providers import Provider, Role
from openkimi.secrets import Secret
from openkimi.sections import LlmSection, RagSection, Section

_SECRET = {"description": 'A secret, best as {"$env": "NAME"}.', "type": ["string", "object"]}
_CORE: dict[str, type[msgspec.Struct]] = {"llm": LlmSection, "rag": RagSection}


def config_schema(plugins: Plugins) -> dict[str, Any]:
    """Describe config.json with every kind that the given plugins offer."""
    schema = _object(RawConfig)
    for role, place in SECTIONS.items():
        section = place.partition(".")[0]
        if section == "mpr":
            kinds = [provider.kind for provider in plugins.providers(role)]
            schema["properties"]["mpr"]["properties"][place.partition(".")[2]]["enum"] = kinds
        else:
            schema["properties"][section] = _section(section, role, plugins.providers(role))
    schema["properties"]["reranker"] = _section("reranker", "embedder", plugins.providers("embedder"))
    schema["properties"]["plugins"]["properties"]["options"] |= _plugin_options(plugins)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "OpenKimi's config.json"}
    return {**head, **schema}


def _plugin_options(plugins: Plugins) -> dict[str, Any]:
    """Describe what each plugin for the application may be told."""
    options = {name: _object(struct) for name, struct in sorted(plugins.options.items())}
    return {"properties": options, "additionalProperties": False}


def _section(section: str, role: Role, providers: list[Provider[Any]]) -> dict[str, Any]:
    """Describe a section as one alternative for each kind, told apart by ``type``."""
    common = _object(_CORE.get(section, Section))["properties"]
    default = DEFAULT_KINDS[section]
    names = [name for provider in providers for name in (provider.kind, *provider.aliases)]
    return {
        "description": f"The {role}; each type has options of its own.",
        "type": "object",
        "properties": {"type": {"enum": names, "default": default}},
        "allOf": [_alternative(provider, common, default) for provider in providers],
    }


def _alternative(provider: Provider[Any], common: dict[str, Any], default: str) -> dict[str, Any]:
    names = [provider.kind, *provider.aliases]
    kind = {"enum": names, "description": provider.description}
    options = _object(provider.config)
    when: dict[str, Any] = {"properties": {"type": {"enum": names}}}
    if default not in names:
        when["required"] = ["type"]
    return {
        "if": when,
        "then": {**options, "properties": {"type": kind, **common, **options["properties"]}},
    }


def _object(struct: type[msgspec.Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(struct, schema_hook=_hook)
    definitions = schema.get("$defs", {})
    top: dict[str, Any] = _inline({"$ref": schema["$ref"]} if "$ref" in schema else schema, definitions)
    top.pop("title", None)
    return top


def _inline(value: Any, definitions: dict[str, Any]) -> Any:
    """Put definitions where they are used: the structs are small and nowhere recursive."""
    if isinstance(value, list):
        return [_inline(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inline(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(item, definitions) for key, item in value.items()}


def _hook(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return _SECRET
    if kind is ApiKey:
        return {"anyOf": [_SECRET, _object(KeyEntry)]}
    raise NotImplementedError(kind)
