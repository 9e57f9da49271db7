"""The command ``openkimi bench``."""

from __future__ import annotations

import os
from typing import Any

import click
import msgspec

from openkimi_gguf import threads
from openkimi_gguf.command import log_to_stderr
from openkimi_gguf.models import resolve
from openkimi_llama_cpp.speed import QUICK, Measured, Plan, Rate, candidates, measure


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints; rates are tokens per second, ``llm`` is the advice."""

    model: str
    load_average: float | None
    threads_by_default: int
    threads_batch_by_default: int
    measured: Measured
    llm: dict[str, Any]


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--quick", is_flag=True, help="Measure little, in some seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(model: str, quick: bool, as_json: bool) -> None:
    """Measure how fast MODEL reads and writes here, and with how many threads.

    MODEL is a GGUF file, a name of the catalogue, or hf:owner/repo/file.gguf; it is fetched if need be. This
    takes about a minute, with --quick some seconds; other work on the machine spoils what is measured.
    """
    log_to_stderr()
    path = resolve(model)
    load = _load_average()
    measured = measure(path, candidates(), QUICK if quick else Plan())
    report = _report(model, load, measured)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _show(report)


def _report(model: str, load: float | None, measured: Measured) -> Report:
    to_read, to_write = threads.defaults()
    chosen = {
        "threads": measured.faster("written", to_write),
        "threads_batch": measured.faster("read", to_read),
    }
    return Report(
        model=model,
        load_average=load,
        threads_by_default=to_write,
        threads_batch_by_default=to_read,
        measured=measured,
        llm={
            "type": "llama-cpp",
            "model_path": model,
            **{name: number for name, number in chosen.items() if number is not None},
        },
    )


def _show(report: Report) -> None:
    measured = report.measured
    load = "unknown" if report.load_average is None else f"{report.load_average:.2f}"
    click.echo(f"{report.model}; load average {load} before the first of {measured.runs} runs\n")
    click.echo("tokens per second, median (slowest to fastest)")
    click.echo(f"threads  {f'reading {measured.read}':>24}  {f'writing {measured.written}':>24}")
    for each in measured.settings:
        click.echo(f"{each.threads:7}  {_shown(each.read):>24}  {_shown(each.written):>24}")
    if "threads" in report.llm or "threads_batch" in report.llm:
        advice = "faster than the default by more than the runs differ"
    else:
        advice = "no number of threads is clearly faster than the default"
    default = f"{report.threads_by_default} to write, {report.threads_batch_by_default} to read"
    click.echo(f"\n{advice} ({default}):")
    click.echo(f'"llm": {msgspec.json.format(msgspec.json.encode(report.llm), indent=2).decode()}')


def _shown(rate: Rate) -> str:
    return f"{rate.median:.1f} ({rate.lowest:.1f} to {rate.highest:.1f})"


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
