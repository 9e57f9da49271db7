"""Components that are held to their contracts: what each gives is looked at where it leaves the component.

A wrong value would otherwise fail in the core, or in another plugin, where nobody's name stands beside it.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from openkimi import promises
from openkimi.contracts import (
    Backend,
    Candidate,
    ContextSampler,
    Embedder,
    Generate,
    Processor,
    Retriever,
    Synthesis,
    Synthesizer,
    Vectors,
)
from openkimi.documents import ANONYMOUS, Chunk, Document, DocumentInfo, Hit, Query
from openkimi.messages import Delta, GenerateRequest
from openkimi.origin import Origin
from openkimi.promises import kind_of
from openkimi.providers import Role
from openkimi.wrapping import BackendWrapper

C = TypeVar("C")
T = TypeVar("T")

_DELTAS = "yield openkimi.Delta objects"


def hold(component: Any, role: Role, origin: Origin) -> Any:
    """Return a component that does what another one does, as long as that is what its contract says."""
    return _HELD[role](component, origin)


def raised_in(error: BaseException) -> tuple[Origin, str] | None:
    """Return the held component that an error comes out of, and its method; the innermost of several."""
    found: tuple[Origin, str] | None = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        own = frame.f_locals.get("self") if frame.f_globals is globals() else None
        if isinstance(own, _Held) and not frame.f_code.co_name.startswith("_"):
            found = own.origin, frame.f_code.co_name
        elif isinstance(own, _Steps):
            found = own.origin, own.method
    return found


def waited_for(error: BaseException) -> tuple[Origin, str] | None:
    """Return the held component whose end a work waited for that was cancelled, and its method."""
    found, cause = raised_in(error), error.__cause__
    inside = waited_for(cause) if isinstance(cause, CancelledError) else None
    return inside or found


class _Held(Generic[C]):
    """Is like the ``component`` in what its contract does not speak of, too, such as further methods.

    It is one of its class, too, for a plugin that wants its own embedder or looks for the model it knows.
    """

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.component)

    def __init__(self, component: C, origin: Origin) -> None:
        self.component = component
        self.origin = origin

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["component"], name)

    def _coming(self, method: str, made: Awaitable[T]) -> Awaitable[T]:
        """Return what a method made, which has to be something to await, however it is written."""
        given: Any = made
        if inspect.isawaitable(given):
            return made
        kind = "one that yields" if inspect.isasyncgen(given) else f"a function that returns {kind_of(given)}"
        raise self.origin.broke(method, "be an async def", kind)

    def _at_once(self, method: str, made: T) -> T:
        """Return what a method made, which has to be nothing to await."""
        if inspect.iscoroutine(made):
            made.close()
            raise self.origin.broke(method, "be a plain def", "an async def")
        return made

    async def trim(self) -> None:
        component: Any = self.component
        await self._coming("trim", component.trim())


class _Backend(_Held[Backend], BackendWrapper):
    def __init__(self, backend: Backend, origin: Origin) -> None:
        _Held.__init__(self, backend, origin)
        if (given := promises.no_names(backend.features)) is not None:
            raise origin.broke("features", "be a set of names", given)
        at_once = backend.concurrency
        if at_once is not None and (given := promises.no_size(at_once)) is not None:
            raise origin.broke("concurrency", "be a number of requests or None", given)
        BackendWrapper.__init__(self, backend)

    @property
    def context_window(self) -> int:
        window = self.backend.context_window
        if (given := promises.no_size(window)) is not None:
            raise self.origin.broke("context_window", "be a number of tokens", given)
        return window

    def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        return _Steps(self.backend.generate(request), self.origin, "generate")

    async def count_prompt(self, request: GenerateRequest) -> int:
        count = await self._coming("count_prompt", self.backend.count_prompt(request))
        if (given := promises.no_count(count)) is not None:
            raise self.origin.broke("count_prompt", "return a whole number", given)
        return count

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        counts = await self._coming("count_tokens", self.backend.count_tokens(texts))
        if (given := promises.no_counts(counts, len(texts))) is not None:
            raise self.origin.broke("count_tokens", f"return a list of {len(texts)} whole numbers", given)
        return counts


class _Embedder(_Held[Embedder], Embedder):
    @property
    def dimensions(self) -> int:
        dimensions = self.component.dimensions
        if (given := promises.no_size(dimensions)) is not None:
            raise self.origin.broke("dimensions", "be the length of a vector", given)
        return dimensions

    @property
    def fingerprint(self) -> str:
        return self.component.fingerprint

    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        vectors = await self._coming("embed", self.component.embed(texts, input_type=input_type))
        rows, dimensions = len(texts), self.dimensions
        if (given := promises.no_vectors(vectors, rows, dimensions)) is not None:
            promised = f"return a numpy array of shape ({rows}, {dimensions}) of float32"
            raise self.origin.broke("embed", promised, given)
        return vectors


class _Processor(_Held[Processor], Processor):
    @property
    def version(self) -> str:
        version = self.component.version
        if (given := promises.unlike(version, str)) is not None:
            raise self.origin.broke("version", "be a str", given)
        return version

    async def process(self, document: Document) -> Sequence[Chunk]:
        chunks = await self._coming("process", self.component.process(document))
        given = await asyncio.to_thread(promises.no_chunks_of, chunks, document)
        if given is not None:
            raise self.origin.broke(
                "process", "return a list of the document's openkimi.Chunk objects", given
            )
        return chunks


class _Retriever(_Held[Retriever], Retriever):
    async def add(
        self, document: Document, chunks: Sequence[Chunk], *, fingerprint: str, tenant: str = ANONYMOUS
    ) -> None:
        await self._coming(
            "add", self.component.add(document, chunks, fingerprint=fingerprint, tenant=tenant)
        )

    async def get(self, document_id: str, *, tenant: str = ANONYMOUS) -> DocumentInfo | None:
        info = await self._coming("get", self.component.get(document_id, tenant=tenant))
        if (given := promises.unlike(info, DocumentInfo, type(None))) is not None:
            raise self.origin.broke("get", "return an openkimi.DocumentInfo or None", given)
        return info

    async def list(self, *, tenant: str = ANONYMOUS) -> Sequence[DocumentInfo]:
        infos = await self._coming("list", self.component.list(tenant=tenant))
        if (given := promises.unlike_list(infos, DocumentInfo)) is not None:
            raise self.origin.broke("list", "return a list of openkimi.DocumentInfo objects", given)
        return infos

    async def read(
        self, document_id: str, *, tenant: str = ANONYMOUS, ordinals: Sequence[int] | None = None
    ) -> Sequence[Chunk]:
        chunks = await self._coming(
            "read", self.component.read(document_id, tenant=tenant, ordinals=ordinals)
        )
        if (given := promises.unlike_list(chunks, Chunk)) is not None:
            raise self.origin.broke("read", "return a list of openkimi.Chunk objects", given)
        return chunks

    async def text(self, document_id: str, *, tenant: str = ANONYMOUS) -> str:
        text = await self._coming("text", self.component.text(document_id, tenant=tenant))
        if (given := promises.unlike(text, str)) is not None:
            raise self.origin.broke("text", "return a str", given)
        return text

    async def search(self, query: Query) -> Sequence[Hit]:
        hits = await self._coming("search", self.component.search(query))
        if (given := promises.no_hits_for(hits, query)) is not None:
            promised = "return a list of openkimi.Hit objects of the query's documents"
            raise self.origin.broke("search", promised, given)
        if (given := promises.untidy(hits, query)) is not None:
            self.origin.lacked("search", "return query.limit hits at most, the best first, none twice", given)
            return promises.tidied(hits, query)
        return hits

    async def delete(self, document_id: str, *, tenant: str = ANONYMOUS) -> bool:
        existed = await self._coming("delete", self.component.delete(document_id, tenant=tenant))
        if (given := promises.unlike(existed, bool)) is not None:
            raise self.origin.broke("delete", "return a bool", given)
        return existed

    async def outdated(self, fingerprint: str) -> Sequence[tuple[str, str]]:
        keys = await self._coming("outdated", self.component.outdated(fingerprint))
        if (given := promises.unlike_list(keys, tuple)) is not None:
            raise self.origin.broke("outdated", "return a list of pairs of a tenant and an id", given)
        return keys


class _Sampler(_Held[ContextSampler], ContextSampler):
    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        orders = self._at_once("sample", self.component.sample(hits, n, seed=seed))
        if (given := promises.no_orders_of(orders, hits, n)) is not None:
            raise self.origin.broke("sample", f"return a list of {n} orders of the hits it is given", given)
        return orders


class _Synthesizer(_Held[Synthesizer], Synthesizer):
    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        made = await self._coming("synthesize", self.component.synthesize(question, candidates, generate))
        steps = _Steps(getattr(made, "answer", None), self.origin, "synthesize")
        if (given := promises.no_synthesis(made)) is not None:
            await steps.aclose()
            raise self.origin.broke("synthesize", "return an openkimi.Synthesis", given)
        return msgspec.structs.replace(made, answer=steps)

    def settled(self, question: str, candidates: Sequence[Candidate], paths: int) -> bool:
        return self._at_once("settled", self.component.settled(question, candidates, paths))


_HELD: dict[Role, Any] = {
    "backend": _Backend,
    "embedder": _Embedder,
    "processor": _Processor,
    "retriever": _Retriever,
    "sampler": _Sampler,
    "synthesizer": _Synthesizer,
}


class _Steps(AsyncIterator[Delta]):
    """The steps of an answer, as long as they are some; closing it closes whatever they come from."""

    def __init__(self, made: Any, origin: Origin, method: str) -> None:
        self._made = made
        self._is_stream = isinstance(made, AsyncIterator)
        self.origin = origin
        self.method = method
        self._ended = False

    async def __anext__(self) -> Delta:
        if not self._is_stream:
            promised = f"{_DELTAS}, written with async def and yield"
            raise self.origin.broke(self.method, promised, kind_of(self._made))
        try:
            delta: Delta = await anext(self._made)
        except StopAsyncIteration:
            if not self._ended:
                self.origin.lacked(self.method, "end with a Delta that has a finish_reason")
            raise
        except BaseException:
            self._ended = True
            raise
        if (given := promises.no_delta(delta)) is not None:
            raise self.origin.broke(self.method, _DELTAS, given)
        self._ended = self._ended or delta.finish_reason is not None
        return delta

    async def aclose(self) -> None:
        self._ended = True
        if inspect.iscoroutine(self._made):
            self._made.close()
        elif hasattr(self._made, "aclose"):
            await self._made.aclose()
