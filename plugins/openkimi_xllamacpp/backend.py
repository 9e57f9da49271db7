"""The backend: a fair queue in front of the engine's slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from openkimi import (
    Backend,
    BackendError,
    BackendUnavailable,
    ConfigError,
    ContextOverflow,
    Delta,
    Feature,
    GenerateRequest,
)
from openkimi_gguf.fetching import fetch
from openkimi_gguf.form import NO_FORM, form_for, offered
from openkimi_gguf.metadata import Metadata, MetadataError, read_metadata
from openkimi_gguf.pieces import Infill, Piece
from openkimi_gguf.purpose import gives_vectors, refusal
from openkimi_gguf.room import room_for
from openkimi_gguf.settling import settle
from openkimi_gguf.template import ChatTemplate
from openkimi_xllamacpp.answer import Answer
from openkimi_xllamacpp.client import Client, GrammarRefused, open_client
from openkimi_xllamacpp.engine import Engine, open_engine
from openkimi_xllamacpp.options import XllamacppOptions
from openkimi_xllamacpp.payload import Prompt, payload_for
from openkimi_xllamacpp.process import Folder
from openkimi_xllamacpp.settings import settings_for
from openkimi_xllamacpp.slots import Slots
from openkimi_xllamacpp.vocabulary import Vocabulary, open_vocabulary, template_of

T = TypeVar("T")
_FIRST_LOOK, _LATER_LOOKS = 0.003, 0.03
_LONGEST_BATCH = 60.0

_log = structlog.get_logger("openkimi_xllamacpp")


@asynccontextmanager
async def open_backend(options: XllamacppOptions) -> AsyncIterator[Backend]:
    """Fetch the model if need be, start the engine, and end it in the end.

    Raises:
        ConfigError: the model cannot be had or loaded, or memory does not suffice.
    """
    path = await fetch(options.model_path)
    metadata = await asyncio.to_thread(_metadata, path)
    room = await asyncio.to_thread(room_for, path, options, options.slots)
    with Folder() as folder:
        settings = settings_for(path, folder.socket, metadata, options, room)
        async with open_engine(settings, folder) as engine, open_client(engine) as client:
            if room.short and not engine.on_gpu:
                room.warn()
            props = await client.props()
            backend = XllamacppBackend(
                engine,
                client,
                options,
                ChatTemplate(template_of(metadata), bos=props.bos_token, eos=props.eos_token),
                await open_vocabulary(client, metadata),
                window=min(settings.window, props.default_generation_settings.n_ctx),
                parameters=await client.parameters(),
            )
            try:
                yield backend
            finally:
                await engine.close()


class XllamacppBackend(Backend):
    """A model in llama.cpp's server engine, which works on several requests at once.

    Answers wait for a slot here; a request that has none comes before one that has. Tokens are counted beside
    the answers.
    """

    features: frozenset[Feature] = frozenset(
        {"stop", "seed", "penalties", "logit_bias", "logprobs", "response_format", "tools"}
    )

    def __init__(
        self,
        engine: Engine,
        client: Client,
        options: XllamacppOptions,
        template: ChatTemplate,
        vocabulary: Vocabulary,
        *,
        window: int,
        parameters: int,
    ) -> None:
        self.parameters = parameters
        self.concurrency = options.slots
        self.takes_turns = not engine.on_gpu
        self._engine = engine
        self._client = client
        self._options = options
        self._vocabulary = vocabulary
        if vocabulary.infill is not None:
            self.features = self.features | {"suffix"}
        self._window = window
        self._template = template
        self._slots = Slots(options.slots)
        self._at_work: set[Answer] = set()

    @property
    def context_window(self) -> int:
        """The size of the context that was created for each slot."""
        return self._window

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request when a slot is free.

        Raises:
            ContextOverflow: the prompt leaves no room for an answer.
            RequestError: the response format or a tool cannot be served, or the template refuses.
            BackendError: llama.cpp failed, or the backend was closed.
        """
        prompt = await self._prepare(request)
        if len(prompt.tokens) >= self.context_window:
            raise ContextOverflow(
                f"the prompt has {len(prompt.tokens)} tokens, the model's window {self.context_window}",
                param="messages",
            )
        payload = payload_for(prompt, request, self._options)
        answer = Answer(top_logprobs=request.top_logprobs, form=prompt.form, stop=prompt.own_stop)
        async with self._slots.slot(request.share):
            try:
                async with self._client.complete(payload) as events:
                    async for event in events:
                        self._at_work.add(answer)
                        if (delta := answer.delta(event)) is not None:
                            yield delta
                        if answer.over:
                            break
                if not answer.over:
                    raise BackendUnavailable("the model was closed before the answer was complete")
            except GrammarRefused as error:
                raise prompt.form.unusable("it is too large, or goes round in circles") from error
            finally:
                self._at_work.discard(answer)
                if not (answer.complete or self._engine.closed):
                    await settle(self._until_free())

    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of the prompt, rendered exactly as for an answer."""
        return len(await self._vocabulary.encode(await asyncio.to_thread(self._render, request)))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return await self._vocabulary.count(texts)

    async def _prepare(self, request: GenerateRequest) -> Prompt:
        pieces = await asyncio.to_thread(self._render, request)
        infill = self._infill(request) is not None
        return Prompt(
            tokens=await self._vocabulary.encode(pieces),
            stop=(*request.stop, *(() if infill else self._template.stop)),
            form=NO_FORM if infill else await asyncio.to_thread(form_for, request, self._template.dialect),
        )

    def _render(self, request: GenerateRequest) -> list[Piece]:
        if (infill := self._infill(request)) is None:
            return self._template.render(request.messages, offered(request))
        prefix = "\n\n".join(message.text for message in request.messages)
        return infill.between(prefix, request.suffix or "")

    def _infill(self, request: GenerateRequest) -> Infill | None:
        return None if request.suffix is None else self._vocabulary.infill

    async def _until_free(self) -> None:
        """Wait until the engine has let go of an answer that was broken off, at the end of a batch."""
        look = _FIRST_LOOK
        try:
            async with asyncio.timeout(_LONGEST_BATCH):
                while self._engine.alive and await self._client.busy() > len(self._at_work):
                    await asyncio.sleep(look)
                    look = _LATER_LOOKS
        except TimeoutError:
            _log.warning("slot_still_busy", seconds=_LONGEST_BATCH)
        except BackendError:
            pass  # the engine is gone, and what it held with it


def _metadata(path: Path) -> Metadata:
    try:
        metadata = read_metadata(path)
    except (MetadataError, OSError) as error:
        raise ConfigError(
            f"llm.model_path: '{path}' is damaged or of a kind llama.cpp cannot read: {error}"
        ) from error
    if gives_vectors(metadata):
        raise ConfigError(refusal(f"'{path}'"))
    return metadata
