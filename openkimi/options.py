"""Turns a section of the config into the options Struct of the kind it chose."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from openkimi.api_keys import ApiKey
from openkimi.errors import ConfigError
from openkimi.secrets import Secret


class FromEnvironment(str):
    """A value that came from the environment, which no message shows."""

    __slots__ = ()


S = TypeVar("S", bound=msgspec.Struct)

_AT = re.compile(r" - at `(?:key in )?\$(?P<path>.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$")


def convert_options(raw: Mapping[str, Any], struct: type[S], *, where: str) -> S:
    """Convert a mapping from the config into a Struct that forbids what it does not know.

    ``where`` is the mapping's place in the config, such as ``llm``.

    Raises:
        ConfigError: names the option at fault, what was expected and what was found.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: expected an object, got {type(raw).__name__}")
    known = [field.encode_name for field in msgspec.structs.fields(struct)]
    for name in raw:
        if name not in known:
            raise ConfigError(_unknown_option(where, name, known))
    try:
        return msgspec.convert(raw, struct, dec_hook=decode_secret)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), raw, where, struct)) from error


def decode_secret(target: type, value: Any) -> Any:
    """Decode the types that msgspec does not know; the ``dec_hook`` of every config Struct."""
    if target is Secret or target is ApiKey:
        return target.of(value)
    raise NotImplementedError(target)


def suggest(name: str, known: list[str]) -> str:
    """Say which known name was probably meant, or list them all."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def _unknown_option(where: str, name: str, known: list[str] | None) -> str:
    place = f"{where}.{name}" if where else name
    return f"{place}: unknown option" + ("" if known is None else f"; {suggest(name, known)}")


def _explain(text: str, raw: Mapping[str, Any], where: str, struct: type[msgspec.Struct]) -> str:
    """Rewrite msgspec's message so that it starts with the path and ends with the value."""
    match = _AT.search(text)
    path = match["path"] if match else ""
    reason = text[: match.start()] if match else text
    place = (where + path) or "the config"
    place = place.removeprefix(".")
    if missing := _MISSING.match(reason):
        return f"{place}.{missing['name']}: required, but not given".removeprefix("the config.")
    if unknown := _UNKNOWN.match(reason):
        return _unknown_option(place, unknown["name"], _options_at(struct, path))
    reason = reason.replace("`", "")
    value = _value_at(raw, path)
    shown = f" ({value})" if value is not None else ""
    return f"{place}: {reason[0].lower()}{reason[1:]}{shown}"


def _options_at(struct: type[msgspec.Struct], path: str) -> list[str] | None:
    """List the options of the Struct inside of another one that a path leads to, if one can follow it."""
    found = _struct_in(msgspec.inspect.type_info(struct))
    for name in re.findall(r"\.([^.\[]+)", path):
        kinds = {field.encode_name: field.type for field in found.fields} if found else {}
        found = _struct_in(kinds.get(name))
    return [field.encode_name for field in found.fields] if found else None


def _struct_in(kind: object) -> msgspec.inspect.StructType | None:
    """Return the Struct that a value may be, or those in it: behind limits, beside None, in a list."""
    if isinstance(kind, msgspec.inspect.StructType):
        return kind
    inner = [getattr(kind, name, None) for name in ("type", "item_type", "value_type")]
    return next(filter(None, map(_struct_in, [*inner, *getattr(kind, "types", ())])), None) if kind else None


def _value_at(raw: Any, path: str) -> str | None:
    """Show the value that a plain path leads to; keys and tokens stay hidden."""
    for step in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        name, index = step
        if re.search(r"key|token|secret|password", name):
            return None
        try:
            raw = raw[name] if name else raw[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    if raw is None or path == "" or isinstance(raw, FromEnvironment):
        return None
    return msgspec.json.encode(raw, enc_hook=repr).decode()[:80]
