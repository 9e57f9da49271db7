"""How much memory a gateway gives back, and that its answers stay the same.

    .venv/bin/python benchmarks/trim.py [--prompts 30] [--documents 12]

Opens an engine with the default model, whose prompt cache may have a gigabyte, a LanceDB store in a temporary
folder, and asks about so many stretches of a speech; then it stores so many variants of the whole speech and
searches each. The resident memory is read before, after, and after `engine.trim()`; the first four prompts
are asked once more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from openkimi import GenerateRequest, KimiEngine, Message
from openkimi.logs import configure_logging
from openkimi.process_memory import resident_memory
from openkimi.turn import Ask

SPEECH = Path(__file__).parents[1] / "tests/data/truman-1946.txt"
STRETCH = 4500
AGAIN = 4


async def answer(engine: KimiEngine, text: str, question: str, documents: tuple[str, ...] = ()) -> str:
    messages = (Message(role="system", content=text), Message(role="user", content=question))
    request = GenerateRequest(messages=messages, temperature=0, max_tokens=32)
    said = [
        event.content
        async for event in engine.answer(Ask(request=request, documents=documents))
        if hasattr(event, "content")
    ]
    return "".join(said)


def show(what: str) -> None:
    print(f"{what:48} {(resident_memory() or 0) / 2**20:6.0f} MiB")


async def measure(engine: KimiEngine, prompts: int, documents: int) -> None:
    speech = SPEECH.read_text("utf-8")
    show("loaded")
    stretches = [speech[at * STRETCH : (at + 1) * STRETCH] for at in range(prompts)]
    before = [await answer(engine, text, "What is this about?") for text in stretches]
    show(f"after {prompts} prompts of {STRETCH} characters")
    for number in range(documents):
        stored = await engine.store(speech.replace("the", f"the {number}th"))
        await answer(engine, "Be brief.", "How many Americans died?", (stored.id,))
    show(f"after {documents} documents of {len(speech)} characters")
    started = time.perf_counter()
    await engine.trim()
    show(f"after a trim of {(time.perf_counter() - started) * 1000:.0f} ms")
    again = [await answer(engine, text, "What is this about?") for text in stretches[:AGAIN]]
    same = sum(one == other for one, other in zip(before, again, strict=False))
    print(f"{same} of {len(again)} answers are the same again")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--documents", type=int, default=12)
    arguments = parser.parse_args()
    configure_logging("error")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        llm = {"type": "llama-cpp", "model_path": "smollm2-135m-instruct", "context_length": 4096}
        sections = {
            "llm": {**llm, "parallel": 2, "cache_ram": "1GiB"},
            "rag": {"type": "lancedb", "path": f"{folder}/lancedb"},
        }
        config.write_text(json.dumps(sections))
        async with KimiEngine(config) as engine:
            await measure(engine, arguments.prompts, arguments.documents)


if __name__ == "__main__":
    asyncio.run(main())
