"""What several test modules share."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from openkimi import Backend, Embedder, OpenContext, Provider, hookimpl
from openkimi.logs import configure_logging
from openkimi.options import convert_options
from openkimi.testing import HashingEmbedder, InMemoryRetriever
from openkimi_scripted import ScriptedBackend, ScriptedOptions

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session", autouse=True)
def logging() -> None:
    """Log as the server does."""
    configure_logging("debug")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Log so again after a command, which logs otherwise, for good."""
    before = structlog.get_config()["wrapper_class"]
    yield
    if structlog.get_config()["wrapper_class"] is not before:
        configure_logging("debug")


@pytest.fixture(scope="session")
def speech() -> str:
    """A public-domain text of 170,000 characters: Truman's message to Congress of January 1946."""
    return (DATA / "truman-1946.txt").read_text("utf-8")


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test import the modules of the benchmarks, and forget them after it."""
    folder = str(Path(__file__).parents[1] / "benchmarks")
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if folder in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


class Held:
    """A plugin that offers one backend, one embedder and one retriever that the test holds in its hands.

    They are chosen by ``config``: ``{"llm": {"type": "held"}, ...}``.
    """

    config = {
        "llm": {"type": "held"},
        "embedder": {"type": "held"},
        "rag": {"type": "held"},
    }

    def __init__(self, **options: Any) -> None:
        self.backend: Backend = ScriptedBackend(convert_options(options, ScriptedOptions, where="held"))
        self.embedder: Embedder = HashingEmbedder()
        self.retriever = InMemoryRetriever()
        self.opened: list[str] = []

    def _provider(self, name: str) -> list[Provider[Any]]:
        @asynccontextmanager
        async def open_held(options: object, context: OpenContext) -> AsyncIterator[Any]:
            self.opened.append(name)
            yield getattr(self, name)
            self.opened.remove(name)

        return [Provider("held", open_held)]

    @hookimpl
    def register_backends(self) -> list[Provider[Any]]:
        return self._provider("backend")

    @hookimpl
    def register_embedders(self) -> list[Provider[Any]]:
        return self._provider("embedder")

    @hookimpl
    def register_retrievers(self) -> list[Provider[Any]]:
        return self._provider("retriever")


@pytest.fixture
def held() -> type[Held]:
    """The plugin class above, to be made with the scripted backend's options."""
    return Held
