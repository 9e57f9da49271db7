"""Downloads from a server that speaks the hub's protocol, and breaks off, changes its mind or lies."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import COMMIT, Hub, serving
from rich.console import Console
from structlog.testing import capture_logs

from openkimi import ConfigError
from openkimi_gguf import downloading, progress
from openkimi_gguf.catalogue import CatalogueEntry
from openkimi_gguf.fetching import fetch, obtain
from openkimi_gguf.hub import HubSource
from openkimi_gguf.models import locate

CONTENT = b"GGUF" + os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "hf:owner/repo/folder/tiny.gguf"
SOURCE = HubSource(repo="owner/repo", filename="folder/tiny.gguf")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no key of this machine's user."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OPENKIMI_CACHE_DIR", str(folder))
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloading, "FIRST_WAIT", 0.01)
    return folder


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub({"owner/repo/folder/tiny.gguf": CONTENT})) as hub:
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def blobs(cache: Path) -> Path:
    return cache / "hub" / "models--owner--repo" / "blobs"


def partial(cache: Path) -> Path:
    return blobs(cache) / f"{SHA256}.incomplete"


def leave(cache: Path, content: bytes) -> None:
    """Lay down what an earlier run has left."""
    blobs(cache).mkdir(parents=True)
    partial(cache).write_bytes(content)


def refused(model: CatalogueEntry | HubSource = SOURCE) -> str:
    with pytest.raises(ConfigError) as raised:
        obtain(model)
    assert "\n" not in raised.value.message
    return raised.value.message


def test_a_download_goes_on_where_another_run_ended(cache: Path, hub: Hub) -> None:
    """What a run that was killed has fetched is not fetched again."""
    leave(cache, CONTENT[:200_000])

    path = obtain(SOURCE)

    assert path.read_bytes() == CONTENT
    assert path == cache / "hub/models--owner--repo/snapshots" / COMMIT / "folder/tiny.gguf"
    assert [headers["Range"] for headers in hub.downloads()] == ["bytes=200000-"]
    assert [file.name for file in blobs(cache).iterdir()] == [SHA256]


def test_a_process_that_is_killed_leaves_what_it_has(cache: Path, hub: Hub) -> None:
    """The command that is killed half way and run again fetches the rest."""
    command = [sys.executable, "-m", "openkimi_gguf.models", "pull", NAME]
    environment = {**os.environ, "HF_ENDPOINT": hub.address}
    hub.ends, hub.statuses = [150_000], []
    code = "import sys, openkimi_gguf.downloading as d; d.FIRST_WAIT = 600.0; " + (
        "from openkimi_gguf.command import models; models(sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "pull", NAME], env=environment, stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stderr is not None
        for line in first.stderr:
            if "model_fetch_interrupted" in line:
                first.kill()

    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert second.returncode == 0, second.stderr
    assert Path(second.stdout.strip()).read_bytes() == CONTENT
    assert "model_fetch_goes_on" in second.stderr
    assert [headers["Range"] for headers in hub.downloads()] == [None, "bytes=150000-"]


def test_cut_connections_are_mended(cache: Path, hub: Hub) -> None:
    """A connection that ends early is opened again for the rest, as long as something comes."""
    hub.ends = [20_000] * (downloading.ATTEMPTS + 2)

    assert obtain(SOURCE).read_bytes() == CONTENT
    assert [headers["Range"] for headers in hub.downloads()] == [
        None,
        *(f"bytes={20_000 * number}-" for number in range(1, downloading.ATTEMPTS + 3)),
    ]


def test_a_server_without_ranges_starts_again(cache: Path, hub: Hub) -> None:
    """Where the server cannot begin in the middle, the file is fetched from its beginning."""
    leave(cache, CONTENT[:200_000])
    hub.ranges = False

    assert obtain(SOURCE).read_bytes() == CONTENT
    assert len(hub.downloads()) == 1


def test_a_changed_file_is_fetched_from_its_beginning(cache: Path, hub: Hub) -> None:
    """What was fetched of an earlier version of the file is no part of the new one."""
    leave(cache, CONTENT[:200_000])
    changed = CONTENT[::-1]
    hub.files["owner/repo/folder/tiny.gguf"] = changed

    assert obtain(SOURCE).read_bytes() == changed
    assert [headers["Range"] for headers in hub.downloads()] == [None]


def test_a_file_that_changes_while_it_comes_is_refused(cache: Path, hub: Hub) -> None:
    """Halves of two versions make no file: it is deleted, told, and fetched whole the next time."""
    leave(cache, CONTENT[:200_000])
    hub.sent = CONTENT[::-1]

    assert "damaged and was deleted: its SHA-256 is" in refused()
    assert list(blobs(cache).iterdir()) == []
    hub.sent = None
    assert obtain(SOURCE).read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [CONTENT[:1000], CONTENT + b"more"])
def test_a_file_of_another_size_is_refused(cache: Path, hub: Hub, sent: bytes) -> None:
    """A server that sends less or more than it announced does not leave a file behind, nor a trap."""
    hub.sent = sent

    refused()
    assert list((cache / "hub").glob("**/snapshots/*/*")) == []
    hub.sent = None
    assert obtain(SOURCE).read_bytes() == CONTENT


def test_a_damaged_beginning_is_found(cache: Path, hub: Hub) -> None:
    """A rest that was damaged on the disk is not built upon twice."""
    leave(cache, b"x" * 200_000)

    assert "damaged" in refused()
    assert obtain(SOURCE).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(cache: Path, hub: Hub) -> None:
    """Errors that pass are waited out, for as long as the server says."""
    hub.looks = [(503, {}), (429, {"Retry-After": "0"})]
    hub.statuses = [(500, {}), (429, {"Retry-After": "1"}), (502, {})]

    with capture_logs() as logs:
        assert obtain(SOURCE).read_bytes() == CONTENT

    waits = [log["seconds_to_next_attempt"] for log in logs if log["event"] == "model_fetch_interrupted"]
    assert len(waits) == 5
    assert 1.0 in waits


def test_a_server_that_stays_broken_is_given_up(cache: Path, hub: Hub) -> None:
    """After some attempts without a byte the error is told."""
    hub.statuses = [(503, {})] * 20

    assert "the server answers 503 Service Unavailable" in refused()
    assert len(hub.downloads()) == downloading.ATTEMPTS
    assert list(blobs(cache).iterdir()) == []


def test_a_silent_server_is_asked_again(cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes is given up and opened again."""
    monkeypatch.setattr(downloading, "SECONDS_OF_SILENCE", 0.3)
    hub.silent.set()
    timer = threading.Timer(0.5, hub.silent.clear)
    timer.start()

    assert obtain(SOURCE).read_bytes() == CONTENT
    assert len(hub.downloads()) > 1
    timer.join()


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, "check its name and HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "accepted its terms"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no such repository, or it is private"),
        (404, {"X-Error-Code": "EntryNotFound"}, "the repository has no file folder/tiny.gguf"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no revision main"),
    ],
)
def test_what_the_hub_refuses_is_told_in_a_line(
    cache: Path, hub: Hub, status: int, headers: dict[str, str], told: str
) -> None:
    """A refusal is not tried again, and says what to do."""
    hub.looks = [(status, headers)]

    assert told in refused()
    assert len(hub.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_refused_at_the_download_is_told_at_once(cache: Path, hub: Hub, status: int) -> None:
    """A refusal where the bytes should come from is final, too, and what was fetched stays."""
    leave(cache, CONTENT[:200_000])
    hub.statuses = [(status, {})]

    assert f"the server answers {status}" in refused()
    assert partial(cache).read_bytes() == CONTENT[:200_000]


def test_the_key_goes_to_the_hub_alone(cache: Path, hub: Hub) -> None:
    """A redirect to another server carries the range, and not the user's token."""
    leave(cache, CONTENT[:200_000])
    with serving(Hub(hub.files)) as store:
        hub.elsewhere = store

        assert obtain(SOURCE).read_bytes() == CONTENT

    assert {headers["Authorization"] for headers in hub.downloads()} == {"Bearer secret"}
    assert [(headers["Range"], headers["Authorization"]) for headers in store.downloads()] == [
        ("bytes=200000-", None)
    ]


def test_the_disk_is_looked_at_first(cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for which there is no room is not begun."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))

    assert "are free in" in refused()
    assert hub.downloads() == []


def test_offline_nothing_is_asked(cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``HF_HUB_OFFLINE`` what is in the cache is used, and what is not there is told."""
    code = f"from openkimi_gguf.models import resolve; print(resolve({NAME!r}))"

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HF_ENDPOINT": hub.address, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    before = run(HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in before.stderr
    assert hub.asked == []
    assert run().returncode == 0
    asked = len(hub.asked)
    assert run(HF_HUB_OFFLINE="1").returncode == 0
    assert len(hub.asked) == asked


async def test_two_processes_fetch_a_file_once(cache: Path, hub: Hub) -> None:
    """The second waits for the first and takes what it has fetched."""
    hub.silent.set()
    tasks = [asyncio.create_task(asyncio.to_thread(obtain, SOURCE)) for _ in range(3)]
    await asyncio.sleep(0.3)
    hub.silent.clear()

    assert {path.read_bytes() for path in await asyncio.gather(*tasks)} == {CONTENT}
    assert len(hub.downloads()) == 1


async def test_a_cancelled_download_ends_and_keeps_what_came(
    cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling ends the pauses between attempts, and what has come is there for the next time."""
    monkeypatch.setattr(downloading, "FIRST_WAIT", 60.0)
    hub.ends = [100_000]
    task = asyncio.create_task(fetch(NAME))
    while not (partial(cache).exists() and partial(cache).stat().st_size == 100_000):
        await asyncio.sleep(0.01)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while any(thread.name == "openkimi-fetch" for thread in threading.enumerate()):
        await asyncio.sleep(0.01)

    assert partial(cache).stat().st_size == 100_000
    assert (await fetch(NAME)).read_bytes() == CONTENT


# Models of the catalogue


def entry(**more: object) -> CatalogueEntry:
    settings = {"sha256": SHA256, "size": len(CONTENT), "sources": (SOURCE,), **more}
    return CatalogueEntry(name="tiny", filename="tiny.gguf", license="MIT", languages=("en",), **settings)


def test_another_file_than_the_catalogue_means_is_not_fetched(cache: Path, hub: Hub) -> None:
    """Where the hub's checksum is another one, nothing is downloaded."""
    hub.files["owner/repo/folder/tiny.gguf"] = CONTENT[::-1]

    assert "another file of that name" in refused(entry())
    assert hub.downloads() == []


def test_a_pinned_revision_is_asked_for(cache: Path, hub: Hub) -> None:
    """An entry with a revision is fetched from there, whatever came after it."""
    pinned = HubSource(repo="owner/repo", filename="folder/tiny.gguf", revision=COMMIT)

    assert obtain(entry(sources=(pinned,))).read_bytes() == CONTENT
    assert all(f"/resolve/{COMMIT}/" in path for _, path, _ in hub.asked)


def test_a_damaged_catalogue_model_is_fetched_anew(cache: Path, hub: Hub) -> None:
    """A file that was damaged on the disk is replaced, in the hub's cache, too."""
    path = obtain(entry())
    with path.open("r+b") as file:
        file.write(b"GGUX")

    assert obtain(entry()).read_bytes() == CONTENT
    assert len(hub.downloads()) == 2


def test_what_is_in_the_hubs_cache_is_not_fetched(cache: Path, hub: Hub) -> None:
    """A catalogue model that another program has fetched is taken from the hub's cache, unasked."""
    obtain(SOURCE)
    hub.asked.clear()

    assert obtain(entry()).read_bytes() == CONTENT
    assert hub.asked == []


# Models in several parts


def parts(hub: Hub, count: int = 3) -> list[bytes]:
    contents = [b"GGUF" + os.urandom(1000 * number) for number in range(1, count + 1)]
    for number, content in enumerate(contents, 1):
        hub.files[f"owner/repo/Q4/big-{number:05}-of-{count:05}.gguf"] = content
    return contents


@pytest.mark.parametrize("number", [1, 3])
def test_all_parts_are_fetched(cache: Path, hub: Hub, number: int) -> None:
    """One part named, all are fetched, side by side, and the first is the model's path."""
    contents = parts(hub)

    path = obtain(locate(f"hf:owner/repo/Q4/big-0000{number}-of-00003.gguf"))

    assert path.name == "big-00001-of-00003.gguf"
    files = sorted(path.parent.iterdir())
    assert [file.read_bytes() for file in files] == contents
    asked = len(hub.asked)
    assert obtain(locate("hf:owner/repo/Q4/big-00001-of-00003.gguf")) == path
    assert len(hub.asked) == asked


def test_a_part_that_is_missing_is_fetched(cache: Path, hub: Hub) -> None:
    """A model of which a part is gone is not complete."""
    parts(hub)
    path = obtain(locate("hf:owner/repo/Q4/big-00001-of-00003.gguf"))
    path.with_name("big-00002-of-00003.gguf").unlink()

    assert obtain(locate("hf:owner/repo/Q4/big-00001-of-00003.gguf")) == path
    assert path.with_name("big-00002-of-00003.gguf").is_file()


def test_a_part_that_the_hub_lacks_is_named(cache: Path, hub: Hub) -> None:
    """A model whose part is not on the hub cannot be had, and the part is named."""
    parts(hub)
    del hub.files["owner/repo/Q4/big-00002-of-00003.gguf"]

    with pytest.raises(ConfigError, match="has no file Q4/big-00002-of-00003.gguf"):
        obtain(locate("hf:owner/repo/Q4/big-00001-of-00003.gguf"))


def test_missing_parts_of_a_local_model_are_named(tmp_path: Path) -> None:
    """Of a file that is one of several all others have to be there; any of them names the model."""
    for number in (1, 2, 3):
        (tmp_path / f"big-0000{number}-of-00003.gguf").write_bytes(b"GGUF")

    assert locate(str(tmp_path / "big-00002-of-00003.gguf")) == tmp_path / "big-00001-of-00003.gguf"
    (tmp_path / "big-00001-of-00003.gguf").unlink()
    (tmp_path / "big-00003-of-00003.gguf").unlink()
    with pytest.raises(ConfigError, match="lacks big-00001-of-00003.gguf, big-00003-of-00003.gguf"):
        locate(str(tmp_path / "big-00002-of-00003.gguf"))


# Progress


def test_how_much_has_come_is_logged(cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a download waits or comes, lines of the log tell how far it is."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    monkeypatch.setattr(downloading, "FIRST_WAIT", 0.2)
    hub.ends = [200_000]

    with capture_logs() as logs:
        obtain(SOURCE)

    lines = [log for log in logs if log["event"] == "model_fetching"]
    assert {line["model"] for line in lines} == {"tiny.gguf"}
    assert all({"megabytes_so_far", "of"} <= set(line) for line in lines)


def test_a_bar_is_drawn(cache: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a bar shows the file, its size and the end."""
    shown = io.StringIO()
    monkeypatch.setattr(
        "rich.console.Console", lambda stderr: Console(file=shown, force_terminal=True, width=100)
    )
    leave(cache, CONTENT[:200_000])

    obtain(SOURCE, report=progress.drawn)

    assert "tiny.gguf" in shown.getvalue()
    assert "300.0/300.0 kB" in shown.getvalue()
