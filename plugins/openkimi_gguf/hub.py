"""Model files on the Hugging Face hub.

They lie in the hub's own cache, as its library keeps them, so that every program finds them. The library
cannot go on with an interrupted download; so files are fetched here and handed over to it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import structlog

from openkimi_gguf.downloading import Interruption, Wanted, download, incomplete, persist
from openkimi_gguf.progress import Reporting
from openkimi_gguf.sources import SourceError

SECONDS_TO_LOOK = 0.5
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOO_MANY_REQUESTS = 429

_log = structlog.get_logger("openkimi_gguf")


class HubSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a repository on the Hugging Face hub (``HF_ENDPOINT``, ``HF_TOKEN`` and its cache apply)."""

    repo: str
    filename: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.repo} on the Hugging Face hub"

    def cached(self, cache: Path | None) -> Path | None:
        """Find the file in the hub's cache without asking the hub."""
        if find_spec("huggingface_hub") is None:
            return None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repo, self.filename, cache_dir=cache, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def blob(self, cache: Path | None, sha256: str) -> Path:
        """Name the file in the hub's cache that holds what has this checksum, whatever its name."""
        return _folder(cache) / f"models--{self.repo.replace('/', '--')}" / "blobs" / sha256

    def commit(self, found: Path) -> str:
        """Tell of which commit a file in the hub's cache is."""
        return found.parents[len(PurePosixPath(self.filename).parts) - 1].name

    def fetch(
        self, cache: Path | None, cancelled: threading.Event, report: Reporting, sha256: str | None = None
    ) -> Path:
        """Download the file into the hub's cache, or what is missing of it.

        Raises:
            SourceError: the hub cannot be reached, does not have the file, or has one of another checksum.
        """
        if find_spec("huggingface_hub") is None:
            raise SourceError("huggingface_hub is not installed: pip install 'openkimi[llama-cpp]'")
        from huggingface_hub import hf_hub_download

        offered = self._offered(cancelled)
        if sha256 is not None and _SHA256.fullmatch(offered.etag or "") and offered.etag != sha256:
            raise SourceError(f"it has another file of that name now, with the SHA-256 {offered.etag}")
        self._fetch_blob(offered, cache, cancelled, report)
        with _explained(self):
            found = hf_hub_download(self.repo, self.filename, cache_dir=cache, revision=self.revision)
        return Path(found)

    def _offered(self, cancelled: threading.Event) -> Any:
        """Ask the hub for the checksum and size of the file."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self.repo, self.filename, revision=self.revision)
        answers: list[Any] = []

        def ask() -> None:
            with _explained(self):
                answers.append(get_hf_file_metadata(url))

        persist(ask, lambda: 0, cancelled)
        return answers[0]

    def _fetch_blob(
        self, offered: Any, cache: Path | None, cancelled: threading.Event, report: Reporting
    ) -> None:
        """Put the content where the library looks for it; small files have no checksum and are left to it."""
        from huggingface_hub import hf_hub_url

        if not (_SHA256.fullmatch(offered.etag or "") and offered.size and offered.commit_hash):
            return
        blob = self.blob(cache, offered.etag)
        blob.parent.mkdir(parents=True, exist_ok=True)
        wanted = Wanted(
            url=hf_hub_url(self.repo, self.filename, revision=offered.commit_hash),
            size=offered.size,
            sha256=offered.etag,
            headers=_headers(),
        )
        with _locked(_lock_of(cache, blob), cancelled):
            if blob.exists():
                return
            with report(PurePosixPath(self.filename).name, offered.size, incomplete(blob)):
                download(wanted, blob, cancelled)


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Say in one line what the hub's library says in many, whatever its version calls the error."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise SourceError("it is not in the hub's cache, and HF_HUB_OFFLINE is set") from error
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{source.repo} is open to those only who accepted its terms: do so on its page and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            "there is no such repository, or it is private: check its name and HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"the repository has no revision {source.revision}") from error
    except errors.EntryNotFoundError as error:
        raise SourceError(f"the repository has no file {source.filename}") from error
    except Exception as error:
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", 0)
        if response is not None and (status == _TOO_MANY_REQUESTS or status >= 500):
            after = str(response.headers.get("Retry-After", ""))
            raise Interruption(reason, float(after) if after.isdecimal() else None) from error
        raise SourceError(reason) from error


@contextmanager
def _locked(path: Path, cancelled: threading.Event) -> Iterator[None]:
    """Hold the lock that the hub's library holds while it downloads the same file."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock, told = FileLock(path), False
    while True:
        try:
            lock.acquire(timeout=SECONDS_TO_LOOK)
            break
        except Timeout as error:
            if cancelled.is_set():
                raise SourceError("it was interrupted") from error
            if not told:
                _log.info("model_fetched_elsewhere", lock=str(path))
            told = True
    try:
        yield
    finally:
        lock.release()


def _lock_of(cache: Path | None, blob: Path) -> Path:
    return _folder(cache) / ".locks" / blob.parent.parent.name / f"{blob.name}.lock"


def _headers() -> dict[str, str]:
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HUB_DISABLE_IMPLICIT_TOKEN

    token = None if HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"User-Agent": "openkimi", **({"Authorization": f"Bearer {token}"} if token else {})}


def _folder(cache: Path | None) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return cache or Path(HF_HUB_CACHE)
