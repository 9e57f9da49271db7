"""What the gateway costs over calling the model's server directly, beside LiteLLM's proxy and Portkey's.

    .venv/bin/python benchmarks/gateway.py [--cases 1 16 64 1s 16s 64s] [--seconds 1.5] [--rounds 3]
                                           [--peers litellm portkey | --no-peers] [--no-pin]

A fake upstream, each gateway (one process, on a processor of its own) and the load generator are processes.
A case is a number of connections, with an `s` for streamed. Upstream and gateways take turns in short rounds;
what is shown are medians of the rounds. `+p50` and `+p99` are milliseconds added to the upstream's answer,
`+first` and `+f.p99` to its first token; `cpu` is the gateway's processor time for a request, in
milliseconds; `ours/its` is how many times as many requests OpenKimi answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import peers
from peers import Absent, Target

CASES = ["1", "16", "64", "1s", "16s", "64s"]
PEERS = {"litellm": peers.litellm, "portkey": peers.portkey}
Figures = dict[str, float]


def processors(*, pinned: bool) -> tuple[set[int], set[int]]:
    """Give the gateways one processor and everything else the others."""
    if not pinned or not hasattr(os, "sched_getaffinity"):
        return set(), set()
    first, *others = sorted(os.sched_getaffinity(0))
    return ({first}, set(others)) if others else (set(), set())


def cpu_seconds(pid: int) -> float:
    """Read the processor time of a process, 0 where the system does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not pid or not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Read the resident memory of a process in MB."""
    statm = Path(f"/proc/{pid}/statm")
    if not pid or not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_000_000


async def load(target: Target, case: str, seconds: float, cpus: set[int]) -> Figures:
    headers = [f"--header={name}: {value}" for name, value in target.headers.items()]
    stream = ["--stream"] if case.endswith("s") else []
    command = [sys.executable, str(Path(__file__).with_name("load.py")), target.url, *headers, *stream]
    before = cpu_seconds(target.pid)
    running = await asyncio.create_subprocess_exec(
        *(*command, "--connections", case.rstrip("s"), "--seconds", str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    peers.pin(running.pid, cpus)
    said, _ = await running.communicate()
    figures: Figures = json.loads(said)
    if figures["answered"]:
        figures["cpu"] = (cpu_seconds(target.pid) - before) * 1000 / figures["answered"]
    return figures


def added(figures: Figures, direct: Figures) -> Figures:
    """Take the upstream's own times of the same round off."""
    times = {"+p50": "p50", "+p99": "p99", "+first": "first_p50", "+first99": "first_p99"}
    return figures | {name: figures[of] - direct[of] for name, of in times.items() if of in figures}


async def measure(targets: list[Target], case: str, options: argparse.Namespace) -> dict[str, Figures]:
    """Run the rounds of a case; per target the median of each figure, and the failures of all."""
    found: dict[str, list[Figures]] = {target.name: [] for target in targets}
    _, cpus = processors(pinned=options.pin)
    for _ in range(options.rounds):
        direct: Figures = {}
        for target in targets:
            figures = await load(target, case, options.seconds, cpus)
            direct = direct or figures
            found[target.name].append(added(figures, direct))
    return {name: _middle(rounds) for name, rounds in found.items()}


def _middle(rounds: list[Figures]) -> Figures:
    names = set.intersection(*(set(figures) for figures in rounds))
    middle = {name: statistics.median(figures[name] for figures in rounds) for name in names}
    return middle | {"failed": sum(figures["failed"] for figures in rounds)}


@asynccontextmanager
async def running(folder: Path, options: argparse.Namespace) -> AsyncIterator[list[Target]]:
    one, others = processors(pinned=options.pin)
    async with AsyncExitStack() as stack:
        direct = await stack.enter_async_context(peers.upstream(folder, others))
        targets = [direct, await stack.enter_async_context(peers.openkimi(direct.url, folder, one))]
        for name in options.peers:
            try:
                targets.append(await stack.enter_async_context(PEERS[name](direct.url, folder, one)))
            except Absent as reason:
                print(f"{name} is left out: {reason}")
        yield targets


def show(case: str, measured: dict[str, Figures]) -> None:
    ours = measured["openkimi"]["rate"]
    for name, figures in measured.items():
        columns = [
            f"{case:>5}  {name:10} {figures['rate']:9.0f}",
            *(f"{figures.get(key, 0):8.3f}" for key in ("p50", "p99")),
            *(f"{figures.get(key, 0):+8.3f}" for key in ("+p50", "+p99", "+first", "+first99")),
            f"{figures.get('cpu', 0):7.3f} {ours / figures['rate'] if figures['rate'] else 0:8.1f}",
            f"{int(figures['failed']):6}",
        ]
        print(" ".join(columns), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load, a round and server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--no-peers", dest="peers", action="store_const", const=[])
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="let the system place processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), options) as targets:
            print(
                f"{'case':>5}  {'server':10} {'requests/s':>9} {'p50':>7} {'p99':>8} {'+p50':>8} {'+p99':>8}"
                f" {'+first':>8} {'+f.p99':>8} {'cpu':>7} {'ours/its':>8} failed"
            )
            for case in options.cases:
                show(case, await measure(targets, case, options))
            sizes = [f"{each.name} {memory(each.pid)} MB" for each in targets if each.pid]
            print(f"memory at the end: {', '.join(sizes)}; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
