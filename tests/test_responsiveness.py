"""The event loop stays free while the machine works hard."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.testing import serving

MEGABYTES = 10


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A text of ten million characters in which no two paragraphs are alike."""
    text = (Path(__file__).parent / "data/truman-1946.txt").read_text("utf-8")
    copies = MEGABYTES * 1_000_000 // len(text) + 1
    return "\n\n".join(text.replace("the", f"the {number}th") for number in range(copies))


async def test_health_is_answered_while_a_large_document_is_processed(
    large: str, held: Any, tmp_path: Path
) -> None:
    """With the real processor, embedder and LanceDB at work on 10 MB, /health answers all the time."""
    plugin = held(reply="Yes.")
    engine = KimiEngine(
        plugins=[plugin],
        llm_config={"type": "held"},
        rag_config={"type": "lancedb", "path": str(tmp_path / "lancedb")},
    )
    messages = [{"role": "system", "content": large}, {"role": "user", "content": "How many died?"}]
    body = io.BytesIO(json.dumps({"messages": messages}).encode())
    answered = 0

    async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:

        async def ask() -> int:
            async with http.post("/v1/chat/completions", data=body) as response:
                return response.status

        asking = asyncio.create_task(ask())
        while not asking.done():
            async with http.get("/health") as response:
                assert response.status == 200
            answered += not asking.done()
            await asyncio.sleep(0.05)

        assert asking.result() == 200
        assert answered > 10
        assert plugin.backend.finished == 1
