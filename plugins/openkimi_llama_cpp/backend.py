"""The backend: one model, and the thread in which a scheduler works it."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from openkimi import (
    Backend,
    BackendUnavailable,
    ContextOverflow,
    Delta,
    Feature,
    GenerateRequest,
)
from openkimi_gguf.fetching import fetch
from openkimi_gguf.form import NO_FORM, form_for, offered
from openkimi_gguf.pieces import Infill
from openkimi_gguf.purpose import check_writes
from openkimi_gguf.settling import settle
from openkimi_gguf.template import ChatTemplate
from openkimi_llama_cpp.generation import Prompt
from openkimi_llama_cpp.job import Job
from openkimi_llama_cpp.loading import discard
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.placement import gpu_layers
from openkimi_llama_cpp.prompt_cache import PromptCache
from openkimi_llama_cpp.prompts import Prompts
from openkimi_llama_cpp.scheduler import Scheduler
from openkimi_llama_cpp.state_files import StateFiles, fingerprint

T = TypeVar("T")
TEXTS_AT_ONCE = 256


@asynccontextmanager
async def open_backend(options: LlamaCppOptions) -> AsyncIterator[Backend]:
    """Fetch the model if need be, load it, and free it in the end.

    Raises:
        ConfigError: the model cannot be had or loaded.
    """
    path = await fetch(options.model_path)
    await asyncio.to_thread(check_writes, path)
    worker = ThreadPoolExecutor(1, "llama-cpp")
    loading = worker.submit(Model, path, options)
    try:
        model = await asyncio.wrap_future(loading)
        prompts = await asyncio.to_thread(_prompts, model, path, options)
    except BaseException:
        worker.submit(discard, loading)
        worker.shutdown(wait=False)
        raise
    backend = LlamaCppBackend(model, options, worker, prompts)
    try:
        yield backend
    finally:
        await backend.close()


class LlamaCppBackend(Backend):
    """A model inside this process that writes several answers at once.

    All evaluation happens in one thread. Prompts are rendered and tokens counted in others, beside it:
    a vocabulary does not change once it is loaded.
    """

    features: frozenset[Feature] = frozenset(
        {"stop", "seed", "penalties", "logit_bias", "logprobs", "response_format", "tools"}
    )

    def __init__(
        self, model: Model, options: LlamaCppOptions, worker: ThreadPoolExecutor, prompts: Prompts
    ) -> None:
        self.parameters = model.parameters
        if model.vocabulary.infill is not None:
            self.features = self.features | {"suffix"}
        self.concurrency = len(model.context.streams)
        self._model = model
        self._options = options
        self._worker = worker
        self._prompts = prompts
        self._tokenizers = ThreadPoolExecutor(2, "llama-cpp-tokens")
        self._template = ChatTemplate(
            model.template, bos=model.vocabulary.bos_text, eos=model.vocabulary.eos_text
        )
        together = _together(model, options)
        self.takes_turns = not together
        self._scheduler = Scheduler(model.context, prompts, together=together)
        self._work = worker.submit(self._scheduler.run)

    @property
    def context_window(self) -> int:
        """The size of the context that was created."""
        return self._model.context.size

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request, in turns with the others.

        Raises:
            ContextOverflow: the prompt leaves no room for an answer.
            RequestError: the response format or a tool cannot be served, or the template refuses.
            BackendError: llama.cpp failed, or the backend was closed.
        """
        prompt = await self._beside(self._prepare, request)
        if len(prompt.tokens) >= self.context_window:
            raise ContextOverflow(
                f"the prompt has {len(prompt.tokens)} tokens, the model's window {self.context_window}",
                param="messages",
            )
        job = Job(self._model, prompt, request, self._options)
        self._scheduler.submit(job)
        try:
            while (delta := await job.deltas.get()) is not None:
                yield delta
            if job.error is not None:
                raise job.error
        finally:
            self._scheduler.cancel(job)
            await settle(job.done)

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of the prompt, rendered exactly as for an answer."""
        return len(await self._beside(self._encode, request))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        counts: list[int] = []
        for at in range(0, len(texts), TEXTS_AT_ONCE):
            counts += await self._beside(self._model.vocabulary.count, texts[at : at + TEXTS_AT_ONCE])
        return counts

    async def trim(self) -> None:
        """Drop what is kept of prompts in memory, between two steps of the answers that are being written.

        Raises:
            BackendUnavailable: the model is closed.
        """
        dropped = await asyncio.wrap_future(self._scheduler.between(self._prompts.trim))
        await asyncio.wrap_future(dropped)

    async def close(self) -> None:
        """Stop what runs, save what is worth it, and free the model."""
        self._scheduler.close()
        await settle(asyncio.to_thread(self._free))

    def _free(self) -> None:
        self._tokenizers.shutdown()
        self._work.result()
        self._worker.submit(self._prompts.close).result()
        self._worker.submit(self._model.close).result()
        self._worker.shutdown()

    def _prepare(self, request: GenerateRequest) -> Prompt:
        infill = self._infill(request) is not None
        return Prompt(
            tokens=self._encode(request),
            stop=(*request.stop, *(() if infill else self._template.stop)),
            form=NO_FORM if infill else form_for(request, self._template.dialect),
        )

    def _encode(self, request: GenerateRequest) -> list[int]:
        if (infill := self._infill(request)) is not None:
            prefix = "\n\n".join(message.text for message in request.messages)
            pieces = infill.between(prefix, request.suffix or "")
        else:
            pieces = self._template.render(request.messages, offered(request))
        return self._model.vocabulary.encode(pieces)

    def _infill(self, request: GenerateRequest) -> Infill | None:
        return None if request.suffix is None else self._model.vocabulary.infill

    async def _beside(self, function: Callable[[Any], T], argument: Any) -> T:
        """Call a function in a thread that does not wait for a running answer."""
        try:
            call = self._tokenizers.submit(function, argument)
        except RuntimeError as error:
            raise BackendUnavailable("the model is closed") from error
        return await asyncio.wrap_future(call)


def _prompts(model: Model, path: Path, options: LlamaCppOptions) -> Prompts:
    """Set up what remembers prompts.

    Raises:
        ConfigError: the folder cannot be used.
    """
    files = None
    if options.slot_save_path is not None:
        import llama_cpp

        made_with = (llama_cpp.__version__, platform.machine(), options.type_k, options.type_v)
        files = StateFiles(
            Path(options.slot_save_path).expanduser(),
            options.slot_save_bytes,
            fingerprint(path, *made_with, options.flash_attn, model.context.size),
        )
    return Prompts(model.context, PromptCache(options.cache_bytes), files)


def _together(model: Model, options: LlamaCppOptions) -> bool:
    if options.cont_batching is not None:
        return options.cont_batching
    return gpu_layers(options, model.library) != 0
