"""KimiEngine: the whole of OpenKimi behind one object, with or without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import PurePath
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from openkimi.components import Components
from openkimi.config import Chosen, Config, build_config, read_config
from openkimi.documents import ANONYMOUS, Document, DocumentInfo
from openkimi.errors import BackendUnavailable
from openkimi.memory import Memory
from openkimi.messages import Delta, GenerateRequest, Message
from openkimi.pipeline import Event, Pipeline
from openkimi.preloading import preload_paths, read_preloads
from openkimi.preparation import Preparation
from openkimi.turn import Ask

log = structlog.get_logger()


class KimiEngine:
    """Answers questions about documents of any length.

    The constructor does no I/O. The engine opens on first use, once, or by ``async with engine``;
    ``engine.lifespan`` opens it with a Litestar application.

    Args:
        config_path: a config.json; None takes ``OPENKIMI_CONFIG_PATH``, and without that the defaults.
        llm_config: replaces the section ``llm`` of the file.
        processor_config: replaces the section ``processor``.
        rag_config: replaces the section ``rag``.
        mpr_candidates: replaces the number ``mpr_candidates``.
        session_id: names a memory of its own that survives a restart; its documents are in scope again.
        plugins: modules or objects with hooks, beside the installed plugins.
    """

    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        llm_config: Mapping[str, Any] | None = None,
        processor_config: Mapping[str, Any] | None = None,
        rag_config: Mapping[str, Any] | None = None,
        mpr_candidates: int | None = None,
        session_id: str | None = None,
        *,
        plugins: Iterable[object] = (),
    ) -> None:
        self._path = config_path
        sections = {
            "llm": llm_config,
            "processor": processor_config,
            "rag": rag_config,
            "mpr_candidates": mpr_candidates,
        }
        self._overrides = {name: value for name, value in sections.items() if value is not None}
        self._plugins = tuple(plugins)
        self._config: Config | None = None
        self._tenant = ANONYMOUS if session_id is None else f"session:{session_id}"
        self._session_id = session_id
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._holders = 0
        self._answering: set[asyncio.Task[Any]] = set()
        self._interrupted = False
        self._stack: AsyncExitStack | None = None
        self._pipeline: Pipeline | None = None
        self._memory: Memory | None = None
        self._scope: dict[str, None] = {}
        self._preloaded: frozenset[str] = frozenset()
        self._history: list[Message] = []

    @property
    def config(self) -> Config:
        """The checked configuration; reads the file the first time.

        Raises:
            ConfigError: something in it is wrong.
        """
        if self._config is None:
            path = self._path or os.environ.get("OPENKIMI_CONFIG_PATH")
            raw = read_config(path) if path else {}
            self._config = build_config({**raw, **self._overrides}, plugins=self._plugins)
        return self._config

    @property
    def model_name(self) -> str:
        """The configured model's name, as ``GET /v1/models`` shows it."""
        options = self.config.backend.options
        if name := getattr(options, "model_name", None):
            return str(name)
        path = str(getattr(options, "model_path", None) or self.config.backend.provider.kind)
        return PurePath(path).name.removesuffix(".gguf")

    @property
    def is_open(self) -> bool:
        """Whether the model and the memory are loaded."""
        return self._pipeline is not None

    async def open(self) -> None:
        """Load the model and the memory and remember the preloaded documents, unless that is done.

        Raises:
            ConfigError: the configuration does not load.
        """
        self._enter_loop()
        async with self._opening:
            if self._pipeline is None:
                async with AsyncExitStack() as stack:
                    await self._open(await asyncio.to_thread(lambda: self.config), stack)
                    self._stack = stack.pop_all()

    async def close(self) -> None:
        """Unload everything; the engine opens again on next use."""
        async with self._opening:
            stack, self._stack, self._pipeline, self._memory = self._stack, None, None, None
            if stack is not None:
                await stack.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        self._holders += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holders -= 1
        if not self._holders:
            await self.close()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Keep the engine open while an application runs: ``Litestar(lifespan=[engine.lifespan])``."""
        async with self:
            yield

    async def ingest(self, text: str) -> str:
        """Remember a document for the questions that follow and return its id.

        Raises:
            StorageError: it could not be stored.
        """
        await self.open()
        assert self._memory is not None
        document = await asyncio.to_thread(Document.of, text)
        await self._memory.remember(document, self._tenant)
        self._scope[document.id] = None
        return document.id

    async def documents(self) -> Sequence[DocumentInfo]:
        """List the stored documents, also those that came in requests, oldest first."""
        await self.open()
        assert self._memory is not None
        return await self._memory.retriever.list(tenant=self._tenant)

    async def chat(self, query: str) -> str:
        """Ask about the ingested documents, in a conversation that remembers what was said."""
        return "".join([piece async for piece in self.stream_chat(query)])

    async def stream_chat(self, query: str) -> AsyncGenerator[str, None]:
        """Ask as :meth:`chat` does and yield the answer piece by piece."""
        asked = (*self._history, Message(role="user", content=query))
        answer: list[str] = []
        ingested = tuple(document_id for document_id in self._scope if document_id not in self._preloaded)
        ask = Ask(request=GenerateRequest(messages=asked), ingested=ingested)
        async with aclosing(self.answer(ask)) as events:
            async for event in events:
                if isinstance(event, Delta) and event.content:
                    answer.append(event.content)
                    yield event.content
        self._history = [*asked, Message(role="assistant", content="".join(answer))]
        await self._forget_transcripts()

    async def reset(self) -> None:
        """Forget the conversation and what was ingested in it; what is preloaded stays.

        With a ``session_id`` the documents are deleted from disk, without one they only leave the scope.
        """
        self._history.clear()
        await self.open()
        assert self._memory is not None
        ingested = [document_id for document_id in self._scope if document_id not in self._preloaded]
        for document_id in ingested:
            del self._scope[document_id]
            if self._session_id is not None:
                await self._memory.forget(document_id, self._tenant)

    async def answer(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """Answer in full detail: receipts and deltas, as :meth:`Pipeline.run` yields them.

        Raises:
            RequestError: the request cannot be served as it is.
            BackendError: the model failed.
        """
        await self.open()
        assert self._pipeline is not None
        ask = msgspec.structs.replace(ask, tenant=self._tenant)
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            async with aclosing(self._pipeline.run(ask, preloaded=tuple(self._scope))) as events:
                async for event in events:
                    yield event
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            task.uncancel()
            raise BackendUnavailable("the gateway is being stopped") from None
        finally:
            self._answering.discard(task)

    def interrupt(self) -> None:
        """End every running answer with an error that says so; for a server that is about to stop."""
        self._interrupted = True
        for task in self._answering:
            task.cancel()

    def _enter_loop(self) -> None:
        """Start anew on another event loop: what was open died with the one before."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._opening = loop, asyncio.Lock()
            self._stack = self._pipeline = self._memory = None
        self._interrupted = False

    async def _forget_transcripts(self) -> None:
        """Keep in a session only what was ingested: transcripts of long talks are made anew each time."""
        if self._session_id is None or self._memory is None:
            return
        for info in await self._memory.retriever.list(tenant=self._tenant):
            if info.id not in self._scope:
                await self._memory.forget(info.id, self._tenant)

    async def _open(self, config: Config, stack: AsyncExitStack) -> None:
        for report in config.plugins.reports:
            if report.state == "failed":
                log.warning("plugin_failed", plugin=report.name, reason=report.reason)
        await asyncio.to_thread(preload_paths, config.preload)
        components = Components()

        async def use(chosen: Chosen[Any], embedder: Any = None) -> Any:
            held = components.use(chosen.role, chosen.provider, chosen.options, embedder)
            return await stack.enter_async_context(held)

        backend = await use(config.backend)
        embedder = await use(config.embedder)
        processor, retriever, sampler, synthesizer = [
            await use(chosen, embedder)
            for chosen in (config.processor, config.retriever, config.sampler, config.synthesizer)
        ]
        window = min(backend.context_window, config.llm.context_length or backend.context_window)
        memory = Memory(processor, retriever)
        preparation = Preparation(
            backend=backend, memory=memory, sampler=sampler, rag=config.rag, window=window
        )
        for document_id in tuple(self._scope):
            if await retriever.get(document_id, tenant=self._tenant) is None:
                del self._scope[document_id]
        preloaded: set[str] = set()
        for text in await read_preloads(config.preload):
            document = await asyncio.to_thread(Document.of, text)
            await memory.remember(document, self._tenant)
            self._scope[document.id] = None
            preloaded.add(document.id)
        self._preloaded = frozenset(preloaded)
        if self._session_id is not None:
            self._scope |= {info.id: None for info in await retriever.list(tenant=self._tenant)}
        self._memory = memory
        self._pipeline = Pipeline(
            backend=backend,
            preparation=preparation,
            synthesizer=synthesizer,
            window=window,
            mpr_candidates=config.mpr_candidates,
        )
        log.info("ready", model=config.backend.provider.kind, window=window, documents=len(self._scope))
