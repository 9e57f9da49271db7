"""Several answers at once from one model, and what it need not read again, with the real default model."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from openkimi import ConfigError, GenerateRequest, Message, ResponseFormat, Usage
from openkimi.errors import RequestError
from openkimi.testing.opening import open_component
from openkimi_gguf.models import resolve
from openkimi_llama_cpp import register_backends
from openkimi_llama_cpp.backend import LlamaCppBackend
from openkimi_llama_cpp.context import Snapshot
from openkimi_llama_cpp.prompt_cache import PromptCache
from openkimi_llama_cpp.state_files import StateFiles

pytestmark = pytest.mark.model

SPEECH = (Path(__file__).parents[1] / "data" / "truman-1946.txt").read_text("utf-8")
WORDS = ("pineapple", "telescope", "volcano", "harbour", "violin", "carpet", "lantern", "glacier")


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[LlamaCppBackend]:
    [provider] = register_backends()
    settings = {"model_path": str(resolve("smollm2-135m-instruct")), "context_length": 2048, **options}
    async with open_component(provider, **settings) as backend:
        assert isinstance(backend, LlamaCppBackend)
        yield backend


def request(text: str, *, system: str = "", **settings: Any) -> GenerateRequest:
    messages = [Message(role="user", content=text)]
    if system:
        messages.insert(0, Message(role="system", content=system))
    return GenerateRequest(messages=tuple(messages), **{"max_tokens": 12, "temperature": 0.0, **settings})


async def answer(backend: LlamaCppBackend, asked: GenerateRequest) -> tuple[str, Usage]:
    async with aclosing(backend.generate(asked)) as stream:
        deltas = [delta async for delta in stream]
    assert deltas[-1].usage is not None
    return "".join(delta.content for delta in deltas), deltas[-1].usage


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_long_prompt_does_not_hold_up_a_short_one() -> None:
    """Whoever comes while a long prompt is read is answered before that one is."""
    ends: list[str] = []

    async def ask(name: str, asked: GenerateRequest) -> None:
        await answer(backend, asked)
        ends.append(name)

    async with opened() as backend:
        long = asyncio.create_task(ask("long", request("Who speaks?", system=SPEECH[:7000], max_tokens=1)))
        while not any(len(stream.tokens) >= 64 for stream in backend._model.context.streams):
            await asyncio.sleep(0.005)
        await ask("short", request("Hi.", max_tokens=2))
        await long

    assert ends == ["short", "long"]


async def test_a_request_with_many_answers_has_one_share() -> None:
    """A single answer beside six of another request, which came first, waits for none that were not begun."""
    ends: list[str] = []

    async def ask(share: str) -> None:
        text = f"Write a long story for {share}."
        async with aclosing(backend.generate(request(text, share=share, max_tokens=32))) as deltas:
            async for _ in deltas:
                written.set()
        ends.append(share)

    async with opened(parallel=3) as backend:
        written = asyncio.Event()
        six = [asyncio.create_task(ask("six")) for _ in range(6)]
        await written.wait()
        await ask("one")
        await asyncio.gather(*six)

    assert ends.index("one") <= 3
    assert len(ends) == 7


async def test_answers_are_the_same_alone_and_in_company() -> None:
    """What else is answered changes nothing, not even with more requests than streams."""
    asked = [request(f"Repeat the word {word}.", system=SPEECH[: 100 * at]) for at, word in enumerate(WORDS)]
    async with opened(parallel=3) as backend:
        alone = [(await answer(backend, each))[0] for each in asked]
    async with opened(parallel=3) as backend:
        together = await asyncio.gather(*(answer(backend, each) for each in asked))

    assert [text for text, _ in together] == alone
    assert len(set(alone)) > len(alone) // 2


async def test_several_answers_to_one_prompt_read_it_once() -> None:
    """Of several samples of one prompt the first reads it, whenever the others come."""
    async with opened(parallel=3) as backend:
        asked = [
            request("Invent a name for a ship.", system=SPEECH[:1000], temperature=1.2, seed=seed)
            for seed in (1, 2, 3)
        ]
        together = await asyncio.gather(*(answer(backend, each) for each in asked))
        later = await answer(backend, asked[1])

    cached = sorted(usage.cached_tokens for _, usage in together)
    assert cached == [0] + [together[0][1].prompt_tokens] * 2
    assert later[0] == together[1][0]
    assert len({text for text, _ in together}) == 3


async def test_paths_over_one_document_share_its_beginning() -> None:
    """Two prompts that begin alike are read together up to where they differ."""
    async with opened() as backend:
        first, second = await asyncio.gather(
            answer(backend, request("Who speaks?", system=SPEECH[:1500])),
            answer(backend, request("Where does he speak?", system=SPEECH[:1500])),
        )

    reader, sharer = sorted((first[1], second[1]), key=lambda usage: usage.cached_tokens)
    assert reader.cached_tokens == 0
    assert sharer.cached_tokens > sharer.prompt_tokens - 130


async def test_a_stream_that_was_needed_for_another_prompt_is_remembered() -> None:
    """With one stream, a prompt that comes back after another one is not read again."""
    asked = request("Who speaks?", system=SPEECH[:1000])
    async with opened(parallel=1) as backend:
        first = await answer(backend, asked)
        await answer(backend, request("Tell a story.", system=SPEECH[5000:6500]))
        again = await answer(backend, asked)

    assert again[0] == first[0]
    assert again[1].cached_tokens == again[1].prompt_tokens


async def test_without_cache_ram_only_streams_remember() -> None:
    """``cache_ram`` 0 keeps nothing beside the streams."""
    async with opened(parallel=1, cache_ram=0) as backend:
        asked = request("Who speaks?", system=SPEECH[:1000])
        await answer(backend, asked)
        await answer(backend, request("Tell a story.", system=SPEECH[5000:6500]))

        assert (await answer(backend, asked))[1].cached_tokens < 64


@pytest.mark.parametrize(("free", "streams"), [(1 << 40, 4), (900 << 20, 2), (1, 1)])
async def test_as_many_answers_at_once_as_memory_holds(
    monkeypatch: pytest.MonkeyPatch, free: int, streams: int
) -> None:
    """Where nothing is configured, the windows of all answers take an eighth of the free memory at most."""
    monkeypatch.setattr("openkimi_llama_cpp.placement.available_memory", lambda: free)

    async with opened() as backend:
        assert backend.concurrency == streams


async def test_one_batch_for_all_gives_each_its_own_answer() -> None:
    """With ``cont_batching`` several answers are written in one step, and one can be stopped alone."""
    async with opened(parallel=4, cont_batching=True) as backend:
        leaving = backend.generate(request("Tell a very long story.", max_tokens=1500))
        await anext(leaving)
        tasks = [
            asyncio.create_task(answer(backend, request(f"Repeat the word {word}."))) for word in WORDS[:3]
        ]
        for _ in range(3):
            await anext(leaving)
        await leaving.aclose()
        together = await asyncio.gather(*tasks)

    assert all(word in text.lower() for word, (text, _) in zip(WORDS, together, strict=False))


async def test_a_request_that_fails_harms_no_other() -> None:
    """A grammar that cannot be made ends its own request; the others go on."""
    unusable = ResponseFormat(type="json_schema", schema={"$ref": "#/nowhere"})
    async with opened() as backend:
        good = asyncio.create_task(answer(backend, request("Repeat the word volcano.")))
        with pytest.raises(RequestError):
            await answer(backend, request("x", response_format=unusable))

        assert "volcano" in (await good)[0].lower()
        assert not backend._scheduler.busy


@pytest.mark.parametrize("together", [False, True], ids=["in turns", "in one batch"])
async def test_random_leavers_leave_nothing_behind(together: bool) -> None:
    """Of many requests of which some are given up at any time, the rest get what they get alone."""
    chance = random.Random(5)
    asked = [
        request(f"Repeat the word {word}.", system=SPEECH[at * 150 : at * 300])
        for at, word in enumerate(WORDS)
    ]

    async def visit(at: int) -> tuple[int, str | None]:
        await asyncio.sleep(chance.random())
        task = asyncio.create_task(answer(backend, asked[at]))
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random())
            task.cancel()
        try:
            return at, (await task)[0]
        except asyncio.CancelledError:
            return at, None

    async with opened(parallel=3, cont_batching=together, cache_ram="40MiB") as backend:
        alone = [(await answer(backend, each))[0] for each in asked]
        visits = await asyncio.gather(*(visit(at % len(asked)) for at in range(16)))

        assert not backend._scheduler.busy
    answered = [(at, text) for at, text in visits if text is not None]
    assert len(answered) >= 5
    if not together:
        assert [text for _, text in answered] == [alone[at] for at, _ in answered]


async def test_a_restart_does_not_forget(tmp_path: Path) -> None:
    """A prompt that was read before a restart is not read again, and is answered in the same way."""
    asked = request("Who speaks?", system=SPEECH[:2000])
    options = {"slot_save_path": str(tmp_path / "slots"), "parallel": 2}
    async with opened(**options) as backend:
        first = await answer(backend, asked)
    async with opened(**options) as backend:
        second = await answer(backend, request("Where does he speak?", system=SPEECH[:2000]))
        again = await answer(backend, asked)
    async with opened(parallel=2) as backend:
        fresh = await answer(backend, request("Where does he speak?", system=SPEECH[:2000]))

    assert first[1].cached_tokens == 0
    assert second[1].cached_tokens > second[1].prompt_tokens - 130
    assert (again[0], second[0]) == (first[0], fresh[0])
    [file] = files_in(tmp_path / "slots")
    assert (tmp_path / "slots").stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600


async def test_what_came_again_is_saved_when_the_model_is_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beginning that was used twice is on disk before the gateway is stopped, or killed."""
    monkeypatch.setattr("openkimi_llama_cpp.scheduler.IDLE_SECONDS", 0.05)
    async with opened(slot_save_path=str(tmp_path)) as backend:
        await answer(backend, request("Who speaks?", system=SPEECH[:1600]))
        assert not files_in(tmp_path)
        await answer(backend, request("Where does he speak?", system=SPEECH[:1600]))

        async with asyncio.timeout(20):
            while not files_in(tmp_path):
                await asyncio.sleep(0.05)


async def test_a_trim_moves_what_is_remembered_to_disk(tmp_path: Path) -> None:
    """Memory for prompts is empty, an answer goes on, and where there is a folder nothing is lost."""
    first, second = (request("Who speaks?", system=SPEECH[at : at + 1600]) for at in (0, 3000))
    async with opened(slot_save_path=str(tmp_path), parallel=1) as backend:
        asked = [await answer(backend, first), await answer(backend, second)]
        async with aclosing(backend.generate(second)) as stream:
            said = (await anext(stream)).content
            await backend.trim()
            assert not list(backend._prompts._cache)
            assert len(files_in(tmp_path)) == 1
            said += "".join([delta.content async for delta in stream])
        again = await answer(backend, first)

    assert said == asked[1][0]
    assert (again[0], again[1].cached_tokens > 0) == (asked[0][0], True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[GenerateRequest, str, Path]:
    """A prompt, its answer, and the file that the backend saved of it."""
    asked = request("Who speaks?", system=SPEECH[:1600])
    folder = tmp_path_factory.mktemp("slots")
    async with opened(slot_save_path=str(folder)) as backend:
        text, _ = await answer(backend, asked)
    [file] = files_in(folder)
    return asked, text, file


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other model"])
async def test_a_file_that_does_not_fit_is_passed_over(
    saved: tuple[GenerateRequest, str, Path], tmp_path: Path, damage: str
) -> None:
    """A damaged file, or one of other settings, costs a log line and nothing else."""
    asked, first, file = saved
    data = file.read_bytes()
    middle = len(data) // 2
    changed = {
        "cut": data[:middle],
        "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "empty": b"",
        "other model": data,
    }
    (tmp_path / file.name).write_bytes(changed[damage])
    options = {"type_k": "q8_0"} if damage == "other model" else {}

    with capture_logs() as logs:
        async with opened(slot_save_path=str(tmp_path), **options) as backend:
            again = await answer(backend, asked)

    assert again[1].cached_tokens == 0
    if damage != "other model":
        assert again[0] == first
        assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["slot_ignored"]


async def test_the_folder_of_slots_stays_within_its_size(tmp_path: Path) -> None:
    """When the folder is full the files that were used least recently go."""
    async with opened(slot_save_path=str(tmp_path), slot_save_size="16MiB", parallel=3) as backend:
        for at in range(3):
            await answer(backend, request("Who speaks?", system=SPEECH[at * 3000 : at * 3000 + 1600]))

    files = files_in(tmp_path)
    assert 0 < len(files) < 3
    assert sum(file.stat().st_size for file in files) <= 16 << 20


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    """A file that was not finished is removed later, one that may still be written is not."""
    old, new = tmp_path / "old.part", tmp_path / "new.part"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))

    StateFiles(tmp_path, 1 << 20, "model")

    assert files_in(tmp_path) == [new]


def test_files_are_saved_and_dropped_at_the_same_time(tmp_path: Path) -> None:
    """A file that one thread drops does not come back because another one makes room for a new one."""
    comparing = threading.Event()

    class SlowPath(type(tmp_path)):  # type: ignore[misc]
        def __eq__(self, other: object) -> bool:
            comparing.set()
            time.sleep(0.05)
            return bool(super().__eq__(other))

        __hash__ = type(tmp_path).__hash__

    def snapshot(at: int, size: int) -> Snapshot:
        return Snapshot(np.arange(at, at + 8, dtype=np.int32), 0, np.zeros(size, np.uint8))

    files = StateFiles(tmp_path, 1500, "model")
    for at in (100, 200):
        files.save(snapshot(at, 200))
    files._files = [msgspec.structs.replace(file, path=SlowPath(file.path)) for file in files._files]
    _, gone = files.best([*range(200, 209)], reproducible=False)
    assert gone is not None
    gone.path.unlink()

    with ThreadPoolExecutor(1) as writer, capture_logs():
        saving = writer.submit(files.save, snapshot(300, 1200))
        assert comparing.wait(10)
        files.load(gone)
        saving.result()

    assert [len(file.tokens) for file in files._files] == [8]
    assert files.best([*range(300, 309)], reproducible=False)[1] is not None


async def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """A place where no folder can be made is named before anybody asks."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(ConfigError, match="slot_save_path"):
        async with opened(slot_save_path=str(tmp_path / "file" / "slots")):
            pass


def test_the_cache_keeps_what_was_used_last() -> None:
    """Memory for snapshots is bounded, and of two that say nearly the same the newer one is kept."""

    def snapshot(start: int, size: int) -> Snapshot:
        return Snapshot(np.arange(start, start + size, dtype=np.int32), 0, np.zeros(100, np.uint8))

    cache = PromptCache(250)
    old, older = snapshot(0, 100), snapshot(1000, 100)
    cache.put(older)
    cache.put(old)
    cache.touch(older)
    cache.put(snapshot(2000, 100))
    cache.put(snapshot(2000, 120))

    assert [int(kept.tokens[0]) for kept in cache] == [2000, 1000]
    assert len(next(iter(cache)).tokens) == 120
    assert cache.best(list(range(1000, 1200)), reproducible=False) == (100, older)
    assert cache.best(list(range(50)), reproducible=False) == (0, None)
