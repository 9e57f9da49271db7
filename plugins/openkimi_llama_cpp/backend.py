"""The backend: a fair queue in front of one model, and the thread that works it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from openkimi import Backend, BackendUnavailable, ContextOverflow, Delta, Feature, GenerateRequest
from openkimi_gguf.fetching import fetch
from openkimi_gguf.form import NO_FORM, form_for, offered
from openkimi_gguf.pieces import Infill
from openkimi_gguf.template import ChatTemplate
from openkimi_llama_cpp.generation import Prompt, generate
from openkimi_llama_cpp.model import Model
from openkimi_llama_cpp.options import LlamaCppOptions

T = TypeVar("T")
TEXTS_AT_ONCE = 256


@asynccontextmanager
async def open_backend(options: LlamaCppOptions) -> AsyncIterator[Backend]:
    """Fetch the model if need be, load it, and free it in the end.

    Raises:
        ConfigError: the model cannot be had or loaded.
    """
    path = await fetch(options.model_path)
    worker = ThreadPoolExecutor(1, "llama-cpp")
    loading = worker.submit(Model, path, options)
    try:
        model = await asyncio.wrap_future(loading)
    except BaseException:
        worker.submit(_discard, loading)
        worker.shutdown(wait=False)
        raise
    backend = LlamaCppBackend(model, options, worker)
    try:
        yield backend
    finally:
        await backend.close()


class LlamaCppBackend(Backend):
    """A model inside this process; one request at a time, first come, first served.

    All evaluation happens in one thread. Prompts are rendered and tokens counted in others, beside it:
    a vocabulary does not change once it is loaded.
    """

    features: frozenset[Feature] = frozenset(
        {"stop", "seed", "penalties", "logit_bias", "logprobs", "response_format", "tools"}
    )
    concurrency = 1

    def __init__(self, model: Model, options: LlamaCppOptions, worker: ThreadPoolExecutor) -> None:
        self.parameters = model.parameters
        if model.vocabulary.infill is not None:
            self.features = self.features | {"suffix"}
        self._model = model
        self._options = options
        self._worker = worker
        self._tokenizers = ThreadPoolExecutor(2, "llama-cpp-tokens")
        self._template = ChatTemplate(
            model.template, bos=model.vocabulary.bos_text, eos=model.vocabulary.eos_text
        )
        # asyncio's lock wakes its waiters in the order they came, and one that is cancelled leaves.
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def context_window(self) -> int:
        """The size of the context that was created."""
        return self._model.context.size

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request when its turn has come.

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
        await self._turn.acquire()
        deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        work = self._start(prompt, request, deltas)
        try:
            while (delta := await deltas.get()) is not None:
                yield delta
                if delta.finish_reason is not None:
                    break
            else:
                await work
                raise BackendUnavailable("the model was closed before the answer was complete")
        finally:
            if not work.done():
                self._model.context.interrupt.set()
            await settle(work)

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of the prompt, rendered exactly as for an answer."""
        return len(await self._beside(self._encode, request))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        counts: list[int] = []
        for at in range(0, len(texts), TEXTS_AT_ONCE):
            counts += await self._beside(self._model.vocabulary.count, texts[at : at + TEXTS_AT_ONCE])
        return counts

    async def close(self) -> None:
        """Stop what runs and free the model."""
        self._closed = True
        self._model.context.interrupt.set()
        freeing = asyncio.ensure_future(asyncio.to_thread(self._free))
        await settle(freeing)
        freeing.result()

    def _free(self) -> None:
        self._tokenizers.shutdown()
        self._worker.submit(self._model.close).result()
        self._worker.shutdown()

    def _start(
        self, prompt: Prompt, request: GenerateRequest, deltas: asyncio.Queue[Delta | None]
    ) -> asyncio.Future[None]:
        """Let the worker begin; the turn ends when it is done, whoever still reads the answer."""
        loop = asyncio.get_running_loop()

        def emit(delta: Delta) -> None:
            loop.call_soon_threadsafe(deltas.put_nowait, delta)

        def end(work: asyncio.Future[None]) -> None:
            work.exception()  # retrieved here, for when nobody reads on
            self._turn.release()
            deltas.put_nowait(None)

        try:
            if self._closed:
                raise BackendUnavailable("the model is closed")
            self._model.context.interrupt.clear()
            work = loop.run_in_executor(
                self._worker, generate, self._model, prompt, request, self._options, emit
            )
        except BaseException:
            self._turn.release()
            raise
        work.add_done_callback(end)
        return work

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


def _discard(loading: Future[Model]) -> None:
    """Free a model that nobody waits for any more."""
    if not loading.cancelled() and loading.exception() is None:
        loading.result().close()


async def settle(work: asyncio.Future[Any]) -> None:
    """Wait until the work is over, through every cancellation, without its result."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
