"""Each hook does what it is for: what a plugin offers by it can be chosen, and is what opens."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from openkimi import KimiEngine, OpenContext, Provider, hookimpl
from openkimi.components import Components
from openkimi.config import Config, build_config
from openkimi.plugins import HOOKS, SECTIONS, load_plugins
from openkimi.providers import Role


class Component:
    """Stands for whatever a provider opens."""


@asynccontextmanager
async def open_component(options: object, context: OpenContext) -> AsyncIterator[Any]:
    yield Component()


OURS = Provider("ours", open_component, description="Ours.")


async def opened_by(hook: str, role: Role) -> object:
    """Open what the config chooses, where a plugin offers the kind ``ours`` by one hook alone."""
    plugin = SimpleNamespace(__name__="plugin", **{hook: hookimpl(lambda: [OURS])})
    section, _, key = SECTIONS[role].partition(".")
    config: Config = build_config({section: {key: "ours"}}, plugins=[plugin])
    chosen = getattr(config, role)
    async with Components().use(role, chosen.provider, chosen.options) as component:
        return component


async def test_register_backends() -> None:
    """What it offers is chosen by ``llm.type``."""
    assert isinstance(await opened_by("register_backends", "backend"), Component)


async def test_register_embedders() -> None:
    """What it offers is chosen by ``embedder.type``."""
    assert isinstance(await opened_by("register_embedders", "embedder"), Component)


async def test_register_processors() -> None:
    """What it offers is chosen by ``processor.type``."""
    assert isinstance(await opened_by("register_processors", "processor"), Component)


async def test_register_retrievers() -> None:
    """What it offers is chosen by ``rag.type``."""
    assert isinstance(await opened_by("register_retrievers", "retriever"), Component)


async def test_register_samplers() -> None:
    """What it offers is chosen by ``mpr.sampling``."""
    assert isinstance(await opened_by("register_samplers", "sampler"), Component)


async def test_register_synthesizers() -> None:
    """What it offers is chosen by ``mpr.synthesis``."""
    assert isinstance(await opened_by("register_synthesizers", "synthesizer"), Component)


def test_register_commands() -> None:
    """What it offers is a command of openkimi by its name."""
    command = click.Command("ours")
    plugin = SimpleNamespace(__name__="plugin", register_commands=hookimpl(lambda: [command]))

    assert load_plugins(plugins=[plugin]).commands["ours"] == [("plugin", command)]


def test_every_hook_has_a_test_of_its_own() -> None:
    """A hook ships with a test that bears its name, or with one whose plugin implements it."""
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))

    assert not [hook for hook in HOOKS if not re.search(rf"\bdef (?:test_)?{hook}\(|\b{hook}=", tests)]


def test_a_module_is_loaded_once() -> None:
    """A module that is installed, or named in the config, offers nothing twice when a program gives it."""
    import openkimi_scripted

    engine = KimiEngine(llm_config={"type": "scripted"}, plugins=[openkimi_scripted, openkimi_scripted])

    assert engine.config.backend.provider.kind == "scripted"
