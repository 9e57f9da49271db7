"""``openkimi bench``: how fast a local model is, and what is made of it."""

import json
import subprocess
import sys

import pytest

from openkimi_gguf.threads import defaults
from openkimi_llama_cpp.speed import Measured, Rate, Setting, candidates


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "openkimi", "bench", *arguments], capture_output=True, text=True, check=False
    )


def setting(number: int, read: list[float], written: list[float]) -> Setting:
    return Setting(threads=number, read=Rate.of(read), written=Rate.of(written))


def test_a_real_model_is_measured() -> None:
    """Each number of threads gets its rates, and the advice is a section that llm can have."""
    done = bench("smollm2-135m-instruct", "--quick", "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [each["threads"] for each in report["measured"]["settings"]] == candidates()
    for each in report["measured"]["settings"]:
        for kind in ("read", "written"):
            assert 0 < each[kind]["lowest"] <= each[kind]["median"] <= each[kind]["highest"]
    assert report["measured"]["runs"] >= 1
    assert {"type": "llama-cpp", "model_path": "smollm2-135m-instruct"}.items() <= report["llm"].items()
    assert report["llm"].keys() <= {"type", "model_path", "threads", "threads_batch"}


def test_a_model_that_is_not_there_is_one_line() -> None:
    """A wrong name ends with a hint and without a traceback."""
    done = bench("smolm2-135m-instruct")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'smollm2-135m-instruct'?" in done.stderr


@pytest.mark.parametrize(
    ("written", "advised"),
    [
        ([20.0, 21.0, 22.0], 2),
        ([9.9, 21.0, 22.0], None),
        ([10.2, 10.3, 10.4], None),
        ([8.0, 8.0, 8.0], None),
    ],
)
def test_the_default_stays_unless_it_is_clearly_beaten(written: list[float], advised: int | None) -> None:
    """Another number of threads is advised if all its runs are faster, and by more than a little."""
    settings = (setting(1, [5.0] * 3, [10.0, 10.1, 9.0]), setting(2, [5.0] * 3, written))

    assert Measured(read=16, written=4, runs=3, settings=settings).faster("written", 1) == advised
    assert Measured(read=16, written=4, runs=1, settings=settings).faster("written", 1) is None


def test_the_defaults_are_always_measured() -> None:
    """What is advised against is measured too."""
    assert set(defaults()) <= set(candidates())
    assert candidates()[0] == 1
