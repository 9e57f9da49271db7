"""KimiEngine: the whole of OpenKimi behind one object, with or without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import PurePath
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from openkimi.assembly import Assembly, assemble
from openkimi.components import Components
from openkimi.config import Config, build_config, read_config
from openkimi.contracts import Vectors
from openkimi.dimensions import shortened
from openkimi.documents import ANONYMOUS, Document, DocumentInfo
from openkimi.errors import (
    BackendUnavailable,
    ConfigError,
    DocumentNotFound,
    DocumentPreloaded,
    RequestError,
)
from openkimi.explanation import Explanation
from openkimi.extensions import Extensions
from openkimi.generation import refuse_unserved
from openkimi.memory import Memory
from openkimi.messages import Delta, GenerateRequest, Message
from openkimi.opening import naming
from openkimi.pipeline import Event
from openkimi.preloading import preload_paths, read_preloads
from openkimi.process_memory import give_back
from openkimi.progress import Report, ignore
from openkimi.statistics import Statistics, Tally
from openkimi.streams import merge
from openkimi.trimming import trim_each
from openkimi.turn import Ask, new_share

_ASKS_AT_ONCE = 8

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
        mpr_config: replaces the section ``mpr``.
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
        mpr_config: Mapping[str, Any] | None = None,
        plugins: Iterable[object] = (),
    ) -> None:
        self._path = config_path
        sections = {
            "llm": llm_config,
            "processor": processor_config,
            "rag": rag_config,
            "mpr_candidates": mpr_candidates,
            "mpr": mpr_config,
        }
        self._overrides = {name: value for name, value in sections.items() if value is not None}
        self._plugins = tuple(plugins)
        self._config: Config | None = None
        self._reads_file = True
        self._tenant = ANONYMOUS if session_id is None else f"session:{session_id}"
        self._session_id = session_id
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._holders = 0
        self._working: set[asyncio.Task[Any]] = set()
        self._interrupted = False
        self._stack: AsyncExitStack | None = None
        self._opened: Assembly | None = None
        self._scope: dict[str, None] = {}
        self._preloaded: frozenset[str] = frozenset()
        self._history: list[Message] = []
        self._tally = Tally()
        self._components = Components()
        self._before: Extensions | None = None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Make an engine of a configuration that is checked already."""
        engine = cls()
        engine._config, engine._reads_file = config, False
        return engine

    def successor(self) -> Self:
        """Make an engine that reads the config anew, to take this one's place.

        What both configs choose alike is opened once for the two of them and stays open while either is.
        The successor counts on where this engine is.

        Raises:
            ConfigError: there is no file that could be read anew.
        """
        if not self._reads_file or self._source is None:
            raise ConfigError("there is no config file that could be read anew")
        cls = type(self)
        engine = cls(self._source, session_id=self._session_id, plugins=self._plugins)
        engine._overrides = self._overrides
        engine._components, engine._tally = self._components, self._tally
        engine._before = self.extensions
        self._tally.reloads += 1
        return engine

    def take_over(self, before: KimiEngine) -> None:
        """Go on where the engine before this one is: with its conversation and what was ingested in it."""
        ingested = (id_ for id_ in before._scope if id_ not in before._preloaded)
        self._scope |= dict.fromkeys(ingested)
        self._history = before._history
        self._tally.reloads_done += 1
        self._before = None
        self.extensions.settle()

    @property
    def config(self) -> Config:
        """The checked configuration; reads the file the first time.

        Raises:
            ConfigError: something in it is wrong.
        """
        if self._config is None:
            raw = read_config(self._source) if self._source else {}
            self._config = build_config({**raw, **self._overrides}, plugins=self._plugins)
        return self._config

    @property
    def _source(self) -> str | os.PathLike[str] | None:
        return self._path or os.environ.get("OPENKIMI_CONFIG_PATH")

    @property
    def model_name(self) -> str:
        """The configured model's name, as ``GET /v1/models`` shows it."""
        options = self.config.backend.options
        if name := getattr(options, "model_name", None):
            return str(name)
        path = str(getattr(options, "model_path", None) or self.config.backend.provider.kind)
        return PurePath(path).name.removesuffix(".gguf")

    @cached_property
    def extensions(self) -> Extensions:
        """What the plugins add to an application around the engine."""
        return Extensions(self, self._before)

    @property
    def statistics(self) -> Statistics:
        """What the engine has done so far, and what it is doing now."""
        opened = self._opened
        inside = opened.admission.inside if opened else 0
        at_once = opened.backend.concurrency if opened else None
        return self._tally.statistics(inside=inside, at_once=at_once)

    @property
    def is_open(self) -> bool:
        """Whether the model and the memory are loaded."""
        return self._opened is not None

    async def open(self) -> None:
        """Load the model and the memory and remember the preloaded documents, unless that is done.

        Raises:
            ConfigError: the configuration does not load.
            OpeningError: a component cannot be opened for a reason of its own.
        """
        self._enter_loop()
        async with self._opening:
            if self._opened is None:
                self._interrupted = False
                async with AsyncExitStack() as stack:
                    with naming():
                        await self._open(await asyncio.to_thread(lambda: self.config), stack)
                    self._stack = stack.pop_all()

    async def close(self) -> None:
        """Unload everything; the engine opens again on next use."""
        async with self._opening:
            stack, self._stack, self._opened = self._stack, None, None
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
        """Keep the engine open while an application runs: ``Litestar(lifespan=[engine.lifespan])``.

        What plugins hold open for an application is held meanwhile, too.

        Raises:
            ConfigError: the configuration does not load.
        """
        async with self, self.extensions.running():
            yield

    async def ingest(self, text: str, *, report: Report = ignore) -> str:
        """Remember a document for the questions that follow and return its id.

        ``report`` is told how far the work is, now and then, from any thread.

        Raises:
            StorageError: it could not be stored.
        """
        memory = (await self._ready()).memory
        document = await asyncio.to_thread(Document.of, text, kept=True)
        with self._interruptible():
            await memory.remember(document, self._tenant, report)
        self._scope[document.id] = None
        return document.id

    async def store(
        self, text: str, *, name: str | None = None, tenant: str = ANONYMOUS, kept: bool = True
    ) -> DocumentInfo:
        """Store a document for requests that name its id; the same text again is the same document.

        One that is not ``kept`` may be dropped when room is needed, as those that come in requests are.

        Raises:
            RequestError: there is nothing in it.
            StorageError: it could not be stored.
        """
        memory = (await self._ready()).memory
        if not text.strip():
            raise RequestError(
                "'text': there is none in it; a document needs text", param="text", code="invalid_value"
            )
        document = await asyncio.to_thread(Document.of, text, name=name, kept=kept)
        with self._interruptible():
            await memory.remember(document, self._tenant_of(tenant))
        return await self.document(document.id, tenant)

    async def documents(self, tenant: str = ANONYMOUS) -> Sequence[DocumentInfo]:
        """List the documents that a tenant may search, also those that came in requests, oldest first."""
        memory = (await self._ready()).memory
        with self._interruptible():
            return await memory.list(self._tenant_of(tenant))

    async def document(self, document_id: str, tenant: str = ANONYMOUS) -> DocumentInfo:
        """Tell what is known of a document that a tenant may search.

        Raises:
            DocumentNotFound: there is none.
        """
        memory = (await self._ready()).memory
        with self._interruptible():
            info = await memory.own(document_id, self._tenant_of(tenant))
        if info is None:
            raise DocumentNotFound(f"there is no stored document '{document_id}'")
        return info

    async def document_text(self, document_id: str, tenant: str = ANONYMOUS) -> str:
        """Return the text of a document that a tenant may search, to the character.

        Raises:
            DocumentNotFound: there is none.
        """
        memory = (await self._ready()).memory
        with self._interruptible():
            return await memory.text(document_id, self._tenant_of(tenant))

    async def forget(self, document_id: str, tenant: str = ANONYMOUS) -> None:
        """Delete a tenant's document; the same text of another tenant stays.

        Raises:
            DocumentNotFound: there is none.
            DocumentPreloaded: the config preloads it, for every tenant.
        """
        memory, owner = (await self._ready()).memory, self._tenant_of(tenant)
        with self._interruptible():
            existed = not memory.is_shared(document_id, owner) and await memory.forget(document_id, owner)
        if existed:
            if owner == self._tenant:
                self._scope.pop(document_id, None)
            return
        await self.document(document_id, tenant)
        raise DocumentPreloaded(
            f"the document '{document_id}' is preloaded for all callers: take its file out of 'preload'"
        )

    async def embed(self, texts: Sequence[str], *, dimensions: int | None = None) -> Vectors:
        """Embed texts with the configured embedder; shape ``(len(texts), dimensions)``, unit rows.

        ``dimensions`` keeps the first so many of a vector's numbers; a text without content has zeros.

        Raises:
            RequestError: the embedder's vectors have fewer dimensions.
            BackendError: the embedder failed.
        """
        embedder = (await self._ready()).embedder
        if dimensions is not None and dimensions > embedder.dimensions:
            raise RequestError(
                f"'dimensions': {embedder.dimensions} at most, the configured embedder has no more",
                param="dimensions",
                code="invalid_value",
            )
        with self._interruptible():
            vectors = await embedder.embed(texts)
        return vectors if dimensions is None else await asyncio.to_thread(shortened, vectors, dimensions)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text as the configured model does, without its template."""
        backend = (await self._ready()).backend
        with self._interruptible():
            return await backend.count_tokens(texts)

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of a request's prompt as it is: template and tools included, nothing left out.

        Raises:
            UnsupportedParameter: the configured model cannot serve the request.
        """
        backend = (await self._ready()).backend
        refuse_unserved(request, backend)
        with self._interruptible():
            return await backend.count_prompt(request)

    async def context_window(self) -> int:
        """Return the most tokens that prompt and answer may have together."""
        return (await self._ready()).window

    async def chat(self, query: str) -> str:
        """Ask about the ingested documents, in a conversation that remembers what was said."""
        return "".join([piece async for piece in self.stream_chat(query)])

    async def trim(self) -> None:
        """Let go of what can be made anew, and give the memory back to the system; requests go on meanwhile.

        A component that fails at it is named in the log.
        """
        self._enter_loop()
        if self._opened is None:
            return
        memory = self._opened.memory
        await trim_each([self._opened.backend, self._opened.embedder, *memory.parts])
        self._tally.trims += 1
        await asyncio.to_thread(give_back)

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
        memory = (await self._ready()).memory
        ingested = [document_id for document_id in self._scope if document_id not in self._preloaded]
        for document_id in ingested:
            del self._scope[document_id]
            if self._session_id is not None:
                await memory.forget(document_id, self._tenant)

    async def answer(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """Answer in full detail: receipts and deltas, as :meth:`Pipeline.run` yields them.

        Raises:
            RequestError: the request cannot be served as it is.
            BackendUnavailable: more requests wait than ``server.max_queue`` allows.
            BackendError: the model failed.
        """
        opened = await self._ready()
        with self._admitted(opened), self._tally.answering() as counted:
            async with aclosing(self._run(opened, ask)) as events:
                async for event in events:
                    counted.add(event)
                    yield event

    async def explain(self, ask: Ask, *, limit: int = 100) -> Explanation:
        """Tell how the prompt of :meth:`answer` comes about, with its best ``limit`` hits, without the model.

        Documents of the request are processed and remembered as they are for an answer.

        Raises:
            RequestError: the request cannot be served as it is.
        """
        opened = await self._ready()
        ask = self._owned(ask)
        with self._interruptible():
            return await opened.pipeline.explain(ask, preloaded=self._scope_of(ask.tenant), limit=limit)

    async def answer_each(self, asks: Sequence[Ask]) -> AsyncGenerator[tuple[int, Event], None]:
        """Answer several asks as one request, several at once; each event comes with the number of its ask.

        Raises:
            OpenKimiError: what :meth:`answer` raises, for the first ask that fails; the others end.
        """
        opened, share = await self._ready(), new_share()
        at_once = asyncio.Semaphore(opened.backend.concurrency or _ASKS_AT_ONCE)

        async def numbered(at: int, ask: Ask) -> AsyncGenerator[tuple[int, Event], None]:
            with self._tally.answering() as counted:
                async with at_once, aclosing(self._run(opened, ask.sharing(share))) as events:
                    async for event in events:
                        counted.add(event)
                        yield at, event

        with self._admitted(opened):
            async with aclosing(merge([numbered(at, ask) for at, ask in enumerate(asks)])) as events:
                async for event in events:
                    yield event

    def _run(self, opened: Assembly, ask: Ask) -> AsyncGenerator[Event, None]:
        ask = self._owned(ask)
        return opened.pipeline.run(ask, preloaded=self._scope_of(ask.tenant))

    def _scope_of(self, tenant: str) -> tuple[str, ...]:
        """Return what a tenant is answered from unasked: what is preloaded, and what it ingested itself."""
        return tuple(id_ for id_ in self._scope if tenant == self._tenant or id_ in self._preloaded)

    def _owned(self, ask: Ask) -> Ask:
        tenant = self._tenant_of(ask.tenant)
        request = msgspec.structs.replace(ask.request, tenant=tenant)
        return msgspec.structs.replace(ask, tenant=tenant, request=request)

    @contextmanager
    def _admitted(self, opened: Assembly) -> Iterator[None]:
        """Let one request in that the model answers, unless too many wait."""
        with self._interruptible(), opened.admission:
            yield

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Do work that :meth:`interrupt` can end."""
        task = asyncio.current_task()
        assert task is not None
        self._working.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            task.uncancel()
            raise BackendUnavailable("the gateway is being stopped") from None
        except Exception as error:
            self.extensions.blame(error)
            raise
        finally:
            self._working.discard(task)

    def interrupt(self) -> None:
        """End every running request with an error that says so; for a server that is about to stop."""
        self._interrupted = True
        for task in self._working:
            task.cancel()

    def _tenant_of(self, caller: str) -> str:
        """Return whose documents a caller has; who shows no key of its own has the engine's."""
        return self._tenant if caller == ANONYMOUS else caller

    async def _ready(self) -> Assembly:
        self._enter_loop()
        if self._opened is None:
            await self.open()
        assert self._opened is not None
        return self._opened

    def _enter_loop(self) -> None:
        """Start anew on another event loop: what was open died with the one before."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._opening = loop, asyncio.Lock()
            self._stack = self._opened = None

    async def _forget_transcripts(self) -> None:
        """Keep in a session only what was ingested: transcripts of long talks are made anew each time."""
        if self._session_id is None:
            return
        memory = (await self._ready()).memory
        for info in await memory.retriever.list(tenant=self._tenant):
            if info.id not in self._scope and not info.kept:
                await memory.forget(info.id, self._tenant)

    async def _open(self, config: Config, stack: AsyncExitStack) -> None:
        for report in config.plugins.reports:
            self.extensions.tell(report)
        await asyncio.to_thread(preload_paths, config.preload)
        opened = await assemble(
            config, stack, self._components, self.extensions.wrap, self._tally.document_stored
        )
        await self._restore_scope(opened.memory)
        await self._preload(opened.memory, config)
        await opened.memory.refresh()
        self._opened = opened
        log.info(
            "ready", model=config.backend.provider.kind, window=opened.window, documents=len(self._scope)
        )

    async def _restore_scope(self, memory: Memory) -> None:
        """Keep what is still stored, and bring back what the session ingested before."""
        for document_id in tuple(self._scope):
            if await memory.retriever.get(document_id, tenant=self._tenant) is None:
                del self._scope[document_id]
        if self._session_id is not None:
            stored = await memory.retriever.list(tenant=self._tenant)
            self._scope |= {info.id: None for info in stored if info.kept}

    async def _preload(self, memory: Memory, config: Config) -> None:
        preloaded: list[str] = []
        for document in await read_preloads(config.preload):
            await memory.remember(document, self._tenant)
            memory.share(document.id, self._tenant)
            preloaded.append(document.id)
        self._scope |= dict.fromkeys(preloaded)
        self._preloaded = frozenset(preloaded)
