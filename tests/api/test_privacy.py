"""What users write is not in the log, whatever goes wrong."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import openkimi_lancedb
from openkimi import BackendError, Chunk, Delta, Document, GenerateRequest, Query, UpstreamError
from openkimi.logs import configure_logging
from openkimi.testing import HashingEmbedder, open_component
from openkimi_scripted import ScriptedBackend, ScriptedOptions

MARK = "ZEBRAMARK"


class Quoting(ScriptedBackend):
    """Fails in many ways, each time with the user's text in the error."""

    mode = ""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        text = request.messages[-1].text
        if self.mode == "unforeseen":
            raise RuntimeError(text)
        if self.mode == "backend":
            raise BackendError(text)
        if self.mode == "upstream":
            raise UpstreamError(text, status=500)
        try:
            yield Delta(content="a")
            if self.mode == "middle":
                raise BackendError(text)
            await asyncio.sleep(30)
        finally:
            if self.mode == "closing":
                raise RuntimeError(text)


@pytest.fixture
def log() -> Any:
    """Collect what is logged from the level info on."""
    configure_logging("info")
    lines = io.StringIO()
    logging.getLogger().handlers[0].setStream(lines)  # type: ignore[attr-defined]
    yield lines
    configure_logging("debug")


@pytest.mark.parametrize("mode", ["unforeseen", "backend", "upstream", "middle", "closing"])
@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
async def test_failures_do_not_quote_the_user(
    gateway: Any, log: io.StringIO, mode: str, candidates: int, stream: bool
) -> None:
    """Errors are logged by type and place; messages and tracebacks are for the level debug."""
    body = {
        "messages": [{"role": "user", "content": f"{MARK} is a secret."}],
        "openkimi": {"mpr": {"candidates": candidates}},
        "stream": stream,
    }
    async with gateway() as server:
        server.plugin.backend = backend = Quoting(ScriptedOptions())
        backend.mode = mode
        try:
            async with asyncio.timeout(0.5 if mode == "closing" else 20):
                async with server.http.post("/v1/chat/completions", json=body) as response:
                    await response.read()
        except TimeoutError:
            await asyncio.sleep(0.2)

    assert log.getvalue()
    assert MARK not in log.getvalue()


async def test_a_server_that_refuses_to_embed_does_not_either(log: io.StringIO, tmp_path: Path) -> None:
    """What it says stays out of the log of the memory, which goes on without vectors."""

    class Refusing(HashingEmbedder):
        async def embed(self, texts: Any, *, input_type: Any = "document") -> Any:
            raise UpstreamError(f"cannot embed {texts!r}", status=400)

    [provider] = openkimi_lancedb.register_retrievers()
    async with open_component(provider, embedder=Refusing(), path=str(tmp_path)) as retriever:
        text = f"{MARK} is a secret. " * 30
        document = Document.of(text)
        chunk = Chunk(
            key=Chunk.key_of(text, (), "1"), text=text.strip(), start=0, end=len(text.strip()), ordinal=0
        )
        await retriever.add(document, [chunk], fingerprint="1")
        query = Query(text=f"What is {MARK}?", document_ids=(document.id,))
        found = await retriever.search(query)

    assert [hit.chunk for hit in found] == [chunk]
    assert "status 400" in log.getvalue()
    assert MARK not in log.getvalue()
