"""Has a model answer questions on stored texts, over the contexts of every sampler and of the baselines."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from candidates import CLOSED, HEAD, ORACLE, PATHS, Place, Record, Records, hash_of
from questions import Question, squeezed

from openkimi import Backend, ContextSampler, GenerateRequest, Message
from openkimi.assembly import Assembly, assemble
from openkimi.components import Components
from openkimi.config import Config, build_config
from openkimi.documents import ANONYMOUS, Chunk, Document, Hit
from openkimi.gathering import Choice
from openkimi.generation import generate
from openkimi.packing import Packed, pack
from openkimi.preparation import Preparation, Prepared
from openkimi.streams import closing
from openkimi.turn import Ask

INSTRUCTIONS = {
    "en": "Extract the answer to the question from the text. "
    "Write only the answer, without repeating the question.",
    "zh": "从文本中提取问题的答案。只写答案，不要重复问题。",
}
MAX_TOKENS = 64
_HEAD_CHARACTERS = 8_000
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_LONGEST_PARAGRAPH = 2_000


class Asking:
    """Questions on texts that are stored, with everything open that answers them."""

    def __init__(
        self, config: Config, assembly: Assembly, samplers: Mapping[str, ContextSampler], temperature: float
    ) -> None:
        self._assembly = assembly
        self._temperature = temperature
        self._preparations = {
            name: Preparation(
                backend=assembly.backend,
                memory=assembly.memory,
                sampler=sampler,
                rag=config.rag,
                window=assembly.window,
            )
            for name, sampler in samplers.items()
        }
        self._texts: dict[str, Document] = {}

    async def store(self, texts: Mapping[str, str]) -> None:
        """Remember the texts and wait for their vectors."""
        memory = self._assembly.memory
        for name, text in texts.items():
            document = self._texts[name] = Document.of(text, kept=True)
            await memory.remember(document, ANONYMOUS)
        for document in self._texts.values():
            while (info := await memory.get(document.id, ANONYMOUS)) is None or info.state != "ready":
                await asyncio.sleep(0.5)

    async def packs(self, question: Question, sampler: str) -> list[Packed]:
        """Make the prompts of a sampler's paths, or the one of a baseline; none where that has no context.

        Equal prompts stay, as they do at a temperature above 0.
        """
        if sampler in self._preparations:
            return list((await self._prepare(question, sampler, PATHS)).packs)
        prepared = await self._prepare(question, next(iter(self._preparations)), 1)
        document = self._texts[question.doc]
        if sampler == CLOSED:
            skeleton = prepared.turn.skeleton()
            tokens = await self._assembly.backend.count_prompt(skeleton)
            return [Packed(request=skeleton, prompt_tokens=tokens)]
        spans = [(0, _HEAD_CHARACTERS)] if sampler == HEAD else paragraphs_of(document.text, question)
        hits = [_hit(document, start, end) for start, end in spans]
        budget = prepared.budget
        if sampler == ORACLE:
            budget = msgspec.structs.replace(budget, context=budget.prompt)
        return [await pack(self._assembly.backend, prepared.turn, hits, budget)] if hits else []

    async def _prepare(self, question: Question, sampler: str, paths: int) -> Prepared:
        messages = (
            Message(role="system", content=INSTRUCTIONS[question.lang]),
            Message(role="user", content=question.question),
        )
        request = GenerateRequest(
            messages=messages, max_tokens=MAX_TOKENS, seed=0, logprobs=True, stream=False
        )
        ask = Ask(request=request, documents=(self._texts[question.doc].id,), citations=False)
        return await self._preparations[sampler].prepare(ask, paths=paths)

    async def answer(
        self, packed: Packed, question: Question, set_: str, place: Place, records: Records
    ) -> Record:
        """Have a prompt answered, or take the answer to an equal one.

        The first path is at temperature 0, as all are unless another temperature is asked for.
        """
        settings, _, sampler, index = place
        temperature = self._temperature if index else 0.0
        request = msgspec.structs.replace(packed.request, temperature=temperature, seed=index)
        prompt = hash_of(request)
        known = records.like(settings, prompt)
        if known is None:
            made = await self._generate(request, packed.prompt_tokens)
        else:
            names = ("completion_tokens", "cached", "text", "finish_reason", "seconds", "logprob")
            made = {name: getattr(known, name) for name in (*names, "mean_logprob")}
        return Record(
            settings=settings,
            set=set_,
            id=question.id,
            lang=question.lang,
            kind=question.kind,
            sampler=sampler,
            index=index,
            seed=index,
            question=question.question,
            passages=packed.passages,
            prompt=prompt,
            prompt_tokens=packed.prompt_tokens,
            reused=known is not None,
            **made,
        )

    async def _generate(self, request: GenerateRequest, prompt_tokens: int) -> dict[str, Any]:
        answer = Choice()
        began = time.perf_counter()
        deltas = generate(
            self._assembly.backend, request, prompt_tokens=prompt_tokens, window=self._assembly.window
        )
        async with closing(deltas) as items:
            async for delta in items:
                answer.add(delta)
        logprobs = [token.logprob for token in answer.logprobs]
        return {
            "completion_tokens": answer.usage.completion_tokens,
            "cached": answer.usage.cached_tokens,
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "seconds": round(time.perf_counter() - began, 3),
            "logprob": sum(logprobs) if logprobs else None,
            "mean_logprob": sum(logprobs) / len(logprobs) if logprobs else None,
        }


@asynccontextmanager
async def asking(
    raw: Mapping[str, Any], samplers: Sequence[str], temperature: float
) -> AsyncIterator[Asking]:
    """Open what a configuration names, and the samplers of these kinds."""
    config = build_config(raw)
    async with AsyncExitStack() as stack:
        assembly = await assemble(config, stack, Components(), _as_it_is)
        components, opened = Components(), dict[str, ContextSampler]()
        for kind in samplers:
            provider = config.plugins.provider("sampler", kind)
            held = components.use("sampler", provider, provider.config(), assembly.embedder)
            opened[kind] = await stack.enter_async_context(held)
        yield Asking(config, assembly, opened, temperature)


async def _as_it_is(backend: Backend) -> Backend:
    """Let no plugin stand around the model: a cache would answer in its place."""
    return backend


def registered_samplers() -> list[str]:
    """List every sampler that a plugin offers, the default first."""
    config = build_config({})
    kinds = [provider.kind for provider in config.plugins.providers("sampler")]
    return sorted(kinds, key=lambda kind: kind != config.mpr.sampling)


def paragraphs_of(text: str, question: Question) -> list[tuple[int, int]]:
    """Find the paragraphs that hold the evidence, each once, by their first and last character.

    A paragraph ends at a blank line, or some way off the evidence where none is near.
    """
    found: dict[tuple[int, int], None] = {}
    for piece in question.evidence:
        pattern = r"\s*".join(map(re.escape, squeezed(piece)))
        match = re.search(pattern, text)
        if match is None:
            continue
        before = [blank.end() for blank in _BLANK_LINE.finditer(text, 0, match.start())][-1:]
        after = _BLANK_LINE.search(text, match.end())
        start = max(*before, match.start() - _LONGEST_PARAGRAPH, 0)
        end = min(after.start() if after else len(text), match.end() + _LONGEST_PARAGRAPH)
        found[start, end] = None
    return sorted(found)


def _hit(document: Document, start: int, end: int) -> Hit:
    text = document.text[start:end]
    chunk = Chunk(key=Chunk.key_of(text, (), ""), text=text, start=start, end=start + len(text), ordinal=0)
    return Hit(document_id=document.id, chunk=chunk, score=1.0)
