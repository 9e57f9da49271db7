"""All that is wrong with a config, where building it stops at the first thing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from openkimi.access import check_server
from openkimi.config import RawConfig, choose, choose_by_name, choose_reranker, inherited
from openkimi.environment import with_environment
from openkimi.errors import ConfigError
from openkimi.options import convert_options
from openkimi.plugins import load_plugins
from openkimi.sections import LlmSection, RagSection, Section

_BY_OPTION = frozenset({"mpr", "server", "plugins"})
"""Sections whose options stand each by itself: they have no kind, and none is required."""


def faults_of(raw: Mapping[str, Any], first: ConfigError) -> list[str]:
    """List what is wrong with a config that ``build_config`` refused, the ``first`` thing in front.

    It is one thing for each section, and for each option of those without a kind.
    """
    faults: dict[str, None] = {first.message: None}
    values: dict[str, Any] = {}
    for part in _parts(raw):
        with _noted(faults):
            given = with_environment(part, os.environ)
            convert_options(given, RawConfig, where="")
            _merge(values, given)
    with _noted(faults):
        values = inherited(values)
    values.get("rag", {}).pop("embedding_model", None)
    for check in _checks(convert_options(values, RawConfig, where="")):
        with _noted(faults):
            check()
    return list(faults)


@contextmanager
def _noted(faults: dict[str, None]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        faults[error.message] = None


def _parts(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a config into what can be looked at by itself."""
    for name, section in raw.items():
        if name in _BY_OPTION and isinstance(section, Mapping) and set(section) != {"$env"}:
            yield from ({name: {option: value}} for option, value in section.items())
        else:
            yield {name: section}


def _merge(values: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, section in part.items():
        values[name] = {**values.get(name, {}), **section} if name in _BY_OPTION else section


def _checks(core: RawConfig) -> Iterator[Callable[[], object]]:
    """List what ``build_config`` does with a config whose types are right."""
    section = core.plugins
    found = load_plugins(section.load, section.block)
    yield partial(check_server, core.server)
    yield found.refuse_absent
    yield partial(found.check_public, section.public)
    yield partial(found.options_of, section.options)
    yield partial(choose, found, "backend", core.llm, LlmSection)
    yield partial(choose, found, "embedder", core.embedder, Section)
    if core.reranker:
        yield partial(choose_reranker, found, core.reranker)
    yield partial(choose, found, "processor", core.processor, Section)
    yield partial(choose, found, "retriever", core.rag, RagSection)
    yield partial(choose_by_name, found, "sampler", core.mpr.sampling)
    yield partial(choose_by_name, found, "synthesizer", core.mpr.synthesis)
