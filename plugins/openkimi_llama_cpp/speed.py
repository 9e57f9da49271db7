"""Measures how fast a model reads and writes with several numbers of threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from openkimi import BackendError, ConfigError
from openkimi_gguf import threads
from openkimi_llama_cpp.library import load_library, sink
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.placement import gpu_layers

GAIN = 1.05
"""How much faster than the default a setting has to be, in the median, to be recommended."""

FEWEST = 16
"""Tokens that are read at least; a quarter of them is written."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured; ``seconds`` bounds all of it but the loading, give or take one round."""

    read: int = 512
    written: int = 32
    rounds: int = 5
    seconds: float = 60.0


QUICK = Plan(read=64, written=8, rounds=3, seconds=10.0)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second: the middle of several runs, and the slowest and fastest of them."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, rates: Sequence[float]) -> Rate:
        """Sum up several runs."""
        ordered = sorted(rates)
        return cls(median=ordered[(len(ordered) - 1) // 2], lowest=ordered[0], highest=ordered[-1])

    def beats(self, other: Rate) -> bool:
        """Tell whether this is faster by more than the runs differ among themselves."""
        return self.lowest > other.highest and self.median > other.median * GAIN


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of threads gives when a prompt is read and when an answer is written."""

    threads: int
    read: Rate
    written: Rate


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: how many tokens in how many runs of each setting."""

    read: int
    written: int
    runs: int
    settings: tuple[Setting, ...]

    def faster(self, kind: str, default: int) -> int | None:
        """Return the threads that are best at ``read`` or ``written``; None where the default is as good."""
        rates: dict[int, Rate] = {each.threads: getattr(each, kind) for each in self.settings}
        best = max(rates, key=lambda number: rates[number].median)
        return best if self.runs > 1 and rates[best].beats(rates[default]) else None


def candidates() -> list[int]:
    """List the numbers of threads that are worth a try: the defaults, one, and shares of the cores."""
    available = threads.available_cores()
    physical = threads.physical_cores(available)
    return sorted({1, max(1, physical // 2), physical, available, *threads.defaults()})


def measure(path: Path, numbers: Sequence[int], plan: Plan) -> Measured:
    """Run a model with each number of threads in turn, several times over.

    Raises:
        ConfigError: the file is no model that llama.cpp can read, or memory does not suffice.
        BackendError: llama.cpp failed.
    """
    with _opened(path, plan) as runner:
        read, written = runner.affordable(plan, numbers)
        runs: list[list[tuple[float, float]]] = []
        began = time.perf_counter()
        while len(runs) < plan.rounds and _time_left(began, len(runs), plan):
            runs.append([runner.run(number, read, written) for number in numbers])
    settings = (
        Setting(threads=number, read=Rate.of([r for r, _ in rates]), written=Rate.of([w for _, w in rates]))
        for number, rates in zip(numbers, zip(*runs, strict=True), strict=True)
    )
    return Measured(read=read, written=written, runs=len(runs), settings=tuple(settings))


def _time_left(began: float, rounds: int, plan: Plan) -> bool:
    """Tell whether one more round is likely to end in time; the first is always made."""
    spent = time.perf_counter() - began
    return rounds == 0 or spent + spent / rounds <= plan.seconds


class _Runner:
    """A context that reads and writes without a care for the content, which costs the same whatever it is."""

    def __init__(self, library: Any, weights: Any, context: Any) -> None:
        self._library = library
        self._context = context
        self._memory = library.llama_get_memory(context)
        self._size: int = library.llama_vocab_n_tokens(library.llama_model_get_vocab(weights))

    def affordable(self, plan: Plan, numbers: Sequence[int]) -> tuple[int, int]:
        """Warm up, and choose how many tokens to read and to write so that the rounds fit the time."""
        self.run(numbers[0], FEWEST, 1)
        tried = [self.run(number, FEWEST, FEWEST // 4) for number in {numbers[0], numbers[-1]}]
        share = plan.seconds / (plan.rounds * len(numbers)) / 2
        read, written = (int(min(rates) * share) for rates in zip(*tried, strict=True))
        return min(plan.read, max(FEWEST, read)), min(plan.written, max(FEWEST // 4, written))

    def run(self, number: int, read: int, written: int) -> tuple[float, float]:
        """Return the tokens per second of one reading and of the writing after it."""
        self._library.llama_set_n_threads(self._context, number, number)
        self._library.llama_memory_clear(self._memory, True)
        began = time.perf_counter()
        self._decode(range(read))
        between = time.perf_counter()
        for at in range(written):
            self._decode((read + at,))
        return read / (between - began), written / (time.perf_counter() - between)

    def _decode(self, positions: Sequence[int]) -> None:
        library = self._library
        tokens = (library.llama_token * len(positions))(*(at * 7919 % self._size for at in positions))
        code = library.llama_decode(self._context, library.llama_batch_get_one(tokens, len(positions)))
        library.llama_synchronize(self._context)
        if code != 0:
            raise BackendError(f"llama.cpp could not evaluate {len(positions)} tokens (code {code})")


@contextmanager
def _opened(path: Path, plan: Plan) -> Iterator[_Runner]:
    library = load_library()
    params = library.llama_model_default_params()
    params.n_gpu_layers = gpu_layers(LlamaCppOptions(), library)
    sink.errors.clear()
    weights = library.llama_model_load_from_file(str(path).encode(), params)
    if not weights:
        reason = next(iter(sink.errors), "llama.cpp gives no reason")
        raise ConfigError(f"'{path}' is damaged or of a kind llama.cpp cannot read: {reason}")
    try:
        params = library.llama_context_default_params()
        params.n_ctx = plan.read + plan.written
        params.n_batch = params.n_ubatch = plan.read
        context = library.llama_init_from_model(weights, params)
        if not context:
            raise ConfigError(f"'{path}': no context of {params.n_ctx} tokens can be made; memory is short")
        try:
            yield _Runner(library, weights, context)
        finally:
            library.llama_free(context)
    finally:
        library.llama_model_free(weights)
