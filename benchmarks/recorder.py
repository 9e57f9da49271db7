"""A server that remembers the prompt it was sent, and gateways in front of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import peers
from aiohttp import web

WINDOW = 32_768
_LONGEST_PROMPT = 64 * 1024 * 1024
_ANSWER = {
    "id": "chatcmpl-recorded",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "recorder",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Noted."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


class Recorder:
    """Answers every chat completion at once; for one question at a time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._messages: list[dict[str, Any]] = []
        self.seen = 0.0

    @property
    def llm(self) -> dict[str, Any]:
        """The section ``llm`` of a configuration that asks this server."""
        return {
            "type": "openai",
            "api_url": self.url,
            "api_key": "sk-benchmark",
            "model_name": "recorder",
            "context_length": WINDOW,
        }

    @property
    def prompt(self) -> str:
        """What the last prompt held beside the question, its last message."""
        return "\n".join(str(message["content"]) for message in self._messages[:-1])

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen = time.perf_counter()
        self._messages = json.loads(body)["messages"]
        return web.json_response(_ANSWER)


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    port = peers.free_port()
    recorder = Recorder(f"http://127.0.0.1:{port}/v1")
    app = web.Application(client_max_size=_LONGEST_PROMPT)
    app.router.add_post("/v1/chat/completions", recorder.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield recorder
    finally:
        await runner.cleanup()


class Gateway:
    """A running gateway, asked as a client asks."""

    def __init__(self, http: aiohttp.ClientSession, recorder: Recorder) -> None:
        self._http = http
        self._recorder = recorder

    async def ask(self, text: str, question: str) -> tuple[str, float]:
        """Send a whole text with a question; return what reached the model, and after how many seconds."""
        messages = [{"role": "system", "content": text}, {"role": "user", "content": question}]
        body = json.dumps({"messages": messages}).encode()
        started = time.perf_counter()
        async with self._http.post("/v1/chat/completions", data=body) as response:
            if response.status != 200:
                raise RuntimeError(f"the gateway answered {response.status}: {await response.text()}")
        return self._recorder.prompt, self._recorder.seen - started

    async def states(self) -> list[str]:
        async with self._http.get("/v1/documents") as response:
            return [each["state"] for each in (await response.json())["data"]]

    async def ready(self, documents: int) -> None:
        """Wait until so many documents are stored with their vectors."""
        while (await self.states()).count("ready") < documents:
            await asyncio.sleep(0.5)


@asynccontextmanager
async def gateway(
    recorder: Recorder, folder: Path, given: Mapping[str, Any], **rag: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway with a store in a folder as a process of its own, by default with the real components."""
    rag = {**given.get("rag", {}), **rag, "path": str(folder / "store")}
    async with peers.client_of({**given, "llm": recorder.llm, "rag": rag}, folder) as http:
        yield Gateway(http, recorder)
