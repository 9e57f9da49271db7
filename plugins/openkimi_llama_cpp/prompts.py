"""Finds what is known of a prompt: in the streams, in memory, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from openkimi_llama_cpp.context import UNIT, Context, Snapshot, Stream
from openkimi_llama_cpp.prompt_cache import SMALL_SHARE, PromptCache
from openkimi_llama_cpp.reading import best, usable
from openkimi_llama_cpp.state_files import StateFiles

# Fewer tokens than this are read sooner than they are fetched from disk.
WORTH_A_FILE = 256
WORTH_A_COPY = 16


class Prompts:
    """What the model has read, so that it reads nothing twice; used by the model's thread only.

    What a stream held is kept in memory when the stream is needed for something else. On disk go prompts
    whose beginning came again, when the model is idle, and everything that is in memory at the end.
    """

    def __init__(self, context: Context, cache: PromptCache, files: StateFiles | None) -> None:
        self._context = context
        self._cache = cache
        self._files = files
        self._order = list(context.streams)  # the least recently used one first
        self._came_again: dict[int, int] = {}
        self._writer = ThreadPoolExecutor(1, "llama-cpp-slots")

    @property
    def settled(self) -> bool:
        """Whether nothing waits to be saved."""
        return self._files is None or not self._came_again

    def known(self, tokens: list[int], streams: Sequence[Stream], *, reproducible: bool) -> int:
        """Count the tokens of a prompt that need not be read, wherever they are known."""
        kept, _ = self._cache.best(tokens, reproducible=reproducible)
        held, _ = best(streams, tokens, reproducible=reproducible)
        return max(kept, held)

    def stream_for(self, tokens: list[int], free: Sequence[Stream], *, reproducible: bool) -> Stream:
        """Choose one of the free streams for a prompt, and bring there what is known of it."""
        kept, own = best(free, tokens, reproducible=reproducible)
        other = self._elsewhere(tokens, free, kept + WORTH_A_COPY, reproducible=reproducible)
        if own is not None and other is None and kept >= WORTH_A_COPY:
            self._keep(own, kept)
            stream, known = own, kept
        else:
            stream = self._least_used(free)
            self._keep(stream, 0)
            if other is not None:
                self._context.restore(stream, other)
            known = usable(stream, tokens, reproducible=reproducible)
        self._order.remove(stream)
        self._order.append(stream)
        self._came_again.pop(stream.id, None)
        if known >= WORTH_A_FILE:
            self._came_again[stream.id] = known
        return stream

    def settle(self) -> None:
        """Save the prompts whose beginning came again; called when the model is idle."""
        for stream in self._context.streams:
            if stream.id in self._came_again:
                self._save(self._context.snapshot(stream))
        self._came_again.clear()

    def trim(self) -> Future[None]:
        """Drop what is kept in memory, where there is a folder after saving it; done when the memory is free.

        What streams hold stays: llama.cpp took the room for it when the model was loaded.
        """
        for snapshot in self._cache:
            self._save(snapshot)
        self._cache.clear()
        return self._writer.submit(lambda: None)

    def close(self) -> None:
        """Save what is known, and wait until that is done."""
        for stream in reversed(self._order):
            if len(stream.tokens) >= WORTH_A_FILE:
                self._save(self._context.snapshot(stream))
        for snapshot in self._cache:
            self._save(snapshot)
        self._writer.shutdown()

    def _elsewhere(
        self, tokens: list[int], free: Sequence[Stream], least: int, *, reproducible: bool
    ) -> Snapshot | None:
        """Find a snapshot that saves at least so much reading: of a busy stream, in memory, or on disk."""
        busy = [stream for stream in self._context.streams if stream not in free]
        length, read = best(busy, tokens, reproducible=reproducible)
        kept, snapshot = self._cache.best(tokens, reproducible=reproducible)
        most = max(length, kept, least)
        if self._files is not None:
            saved, file = self._files.best(tokens, reproducible=reproducible)
            if file is not None and saved >= most + WORTH_A_FILE and (loaded := self._files.load(file)):
                return loaded
        if read is not None and length == most:
            return self._context.snapshot(read)
        if snapshot is not None and kept == most:
            self._cache.touch(snapshot)
            return snapshot
        return None

    def _least_used(self, free: Sequence[Stream]) -> Stream:
        empty = [stream for stream in free if not stream.tokens]
        return empty[0] if empty else next(stream for stream in self._order if stream in free)

    def _keep(self, stream: Stream, known: int) -> None:
        """Keep in memory what a stream is about to forget, if it is much."""
        size = len(stream.tokens)
        if size - known >= max(UNIT, SMALL_SHARE * size) and (snapshot := self._context.snapshot(stream)):
            self._cache.put(snapshot)

    def _save(self, snapshot: Snapshot | None) -> None:
        if self._files is not None and snapshot is not None and len(snapshot.tokens) >= WORTH_A_FILE:
            self._writer.submit(self._files.save, snapshot)
