"""Asks a local model, as the tests of the backends for GGUF models do."""

from __future__ import annotations

from contextlib import aclosing

from openkimi import Backend, Delta, GenerateRequest, Message, Usage

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}


def request(
    text: str = "Say hello to the world.", *, system: str | None = None, **settings: object
) -> GenerateRequest:
    messages = [Message(role="system", content=system)] if system is not None else []
    messages.append(Message(role="user", content=text))
    return GenerateRequest(messages=tuple(messages), **{"max_tokens": 12, "temperature": 0.0, **settings})


async def answer(backend: Backend, asked: GenerateRequest) -> tuple[str, list[Delta]]:
    async with aclosing(backend.generate(asked)) as stream:  # type: ignore[type-var]
        deltas = [delta async for delta in stream]
    return "".join(delta.content for delta in deltas), deltas


def usage(deltas: list[Delta]) -> Usage:
    assert deltas[-1].usage is not None
    return deltas[-1].usage
