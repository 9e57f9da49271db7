"""Opens the components that a config chose and puts the pipeline together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import msgspec

from openkimi.admission import Admission
from openkimi.components import Components
from openkimi.config import Chosen, Config
from openkimi.contracts import Backend, ContextSampler, Embedder, Processor, Retriever, Synthesizer
from openkimi.errors import PluginError
from openkimi.memory import Memory
from openkimi.opening import naming
from openkimi.pipeline import Pipeline
from openkimi.plugins import SECTIONS
from openkimi.preparation import Preparation
from openkimi.providers import Role
from openkimi.reranking import Reranker

CONTRACTS: dict[Role, type] = {
    "backend": Backend,
    "embedder": Embedder,
    "processor": Processor,
    "retriever": Retriever,
    "sampler": ContextSampler,
    "synthesizer": Synthesizer,
}


class Assembly(msgspec.Struct, frozen=True, kw_only=True):
    """What answers questions while its components are open; the ``window`` is in tokens."""

    pipeline: Pipeline
    memory: Memory
    backend: Backend
    embedder: Embedder
    admission: Admission
    window: int


async def assemble(
    config: Config,
    stack: AsyncExitStack,
    components: Components,
    wrap: Callable[[Backend], Awaitable[Backend]],
    stored: Callable[[], None] | None = None,
) -> Assembly:
    """Open every component the config chose, to be closed by the stack; ``wrap`` may replace the backend.

    Those of ``components`` that are open already are shared. ``stored`` is called for each document that was
    processed.

    Raises:
        PluginError: what a plugin opened is no component of its role.
        OpeningError: opening a component raised what nobody foresaw.
        OpenKimiError: whatever else opening one raised; those opened before are closed by the stack.
    """
    use = _opening(config, stack, components)
    backend = await wrap(await use(config.backend))
    embedder = await use(config.embedder)
    memory = await _memory(config, use, embedder, stack, stored)
    sampler = await use(config.sampler, embedder)
    synthesizer = await use(config.synthesizer, embedder)
    window = min(backend.context_window, config.llm.context_length or backend.context_window)
    preparation = Preparation(backend=backend, memory=memory, sampler=sampler, rag=config.rag, window=window)
    pipeline = Pipeline(
        backend=backend,
        preparation=preparation,
        synthesizer=synthesizer,
        window=window,
        mpr=config.mpr,
        mpr_candidates=config.mpr_candidates,
    )
    return Assembly(
        pipeline=pipeline,
        memory=memory,
        backend=backend,
        embedder=embedder,
        admission=Admission(_most_at_once(backend, config.server.max_queue)),
        window=window,
    )


async def open_memory(
    config: Config, stack: AsyncExitStack, watch: Callable[[Embedder], Embedder] | None = None
) -> Memory:
    """Open the document memory that the config chose and no model, to be closed by the stack.

    ``watch`` puts another embedder before the one the config chose.

    Raises:
        OpenKimiError: whatever opening a component raised; those opened before are closed by the stack.
    """
    use = _opening(config, stack, Components())
    embedder = await use(config.embedder)
    return await _memory(config, use, embedder if watch is None else watch(embedder), stack)


class _Use(Protocol):
    async def __call__(self, chosen: Chosen[Any], embedder: Embedder | None = None) -> Any: ...


def _opening(config: Config, stack: AsyncExitStack, components: Components) -> _Use:
    components.holder.serve(config.plugins)

    async def use(chosen: Chosen[Any], embedder: Embedder | None = None) -> Any:
        role, provider = chosen.role, chosen.provider
        where = "reranker.type" if chosen is config.reranker else SECTIONS[role]

        def what() -> str:
            report = config.plugins.report_of(role, provider)
            name = provider.module if report is None else report.name
            return f"{where}: the {role} '{provider.kind}' of the plugin {name} could not be opened"

        with naming(what, provider.module):
            opening = components.use(role, provider, chosen.options, embedder)
            component = _checked(await stack.enter_async_context(opening), chosen)
            return components.holder.hold(component, role, provider, where)

    return use


def _checked(component: Any, chosen: Chosen[Any]) -> Any:
    """Refuse what is no component of its role, before a request meets it."""
    contract = CONTRACTS[chosen.role]
    if not isinstance(component, contract):
        provider = chosen.provider
        raise PluginError(
            f"{SECTIONS[chosen.role]}: the plugin module {provider.module} opened {type(component).__name__} "
            f"for the kind '{provider.kind}', no openkimi.{contract.__name__}: its open() must yield one"
        )
    return component


async def _memory(
    config: Config,
    use: _Use,
    embedder: Embedder,
    stack: AsyncExitStack,
    stored: Callable[[], None] | None = None,
) -> Memory:
    processor, retriever = await use(config.processor, embedder), await use(config.retriever, embedder)
    memory = Memory(processor, retriever, await _reranker(config, use), stored=stored)
    stack.push_async_callback(memory.close)
    return memory


async def _reranker(config: Config, use: _Use) -> Reranker | None:
    if config.reranker is None or not config.rag.rerank_ms:
        return None
    return Reranker(await use(config.reranker), milliseconds=config.rag.rerank_ms)


def _most_at_once(backend: Backend, max_queue: int | None) -> int | None:
    if backend.concurrency is None or max_queue is None:
        return None
    return backend.concurrency + max_queue
