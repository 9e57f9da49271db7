"""Speaks with the engine over its socket: JSON over HTTP, answers as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from openkimi import BackendError, BackendUnavailable, ContextOverflow, OpenKimiError
from openkimi_xllamacpp.engine import Engine
from openkimi_xllamacpp.events import Event, events

# The engine counts this among the ids of a text in parts, and no token has it.
_BETWEEN = -1
_CALLS_AT_ONCE = 4


class _Tokens(msgspec.Struct, frozen=True):
    tokens: list[int]


class _Slot(msgspec.Struct, frozen=True):
    is_processing: bool


class _Meta(msgspec.Struct, frozen=True):
    n_params: int


class _Model(msgspec.Struct, frozen=True):
    meta: _Meta


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]


class _Generation(msgspec.Struct, frozen=True):
    n_ctx: int


class Props(msgspec.Struct, frozen=True):
    """What the engine tells of itself; the window is ``default_generation_settings.n_ctx``."""

    bos_token: str
    eos_token: str
    default_generation_settings: _Generation


class _Reason(msgspec.Struct, frozen=True):
    message: str = ""
    type: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: _Reason = _Reason()


class GrammarRefused(BackendError):
    """The engine's parser does not take a grammar: it is too large, or goes round in circles."""


class Client:
    """Calls of one engine; made by :func:`open_client`."""

    def __init__(self, engine: Engine, answers: aiohttp.ClientSession, calls: aiohttp.ClientSession) -> None:
        self._engine = engine
        self._answers = answers
        self._calls = calls

    async def props(self) -> Props:
        """Ask what was loaded."""
        return msgspec.json.decode(await self._call("GET", "/props"), type=Props)

    async def parameters(self) -> int:
        """Ask for the model's number of weights."""
        models = msgspec.json.decode(await self._call("GET", "/v1/models"), type=_Models)
        return models.data[0].meta.n_params

    async def busy(self) -> int:
        """Count the slots that are at work."""
        slots = msgspec.json.decode(await self._call("GET", "/slots"), type=list[_Slot])
        return sum(slot.is_processing for slot in slots)

    async def tokenize(self, texts: Sequence[str], *, begin: bool = False) -> list[list[int]]:
        """Turn texts into ids, control tokens taken as text; ``begin`` adds what begins the first one."""
        content: list[str | int] = []
        for text in texts:
            content += [text.encode("utf-8", "replace").decode(), _BETWEEN]
        body = {"content": content, "add_special": begin, "parse_special": False}
        answer = msgspec.json.decode(await self._call("POST", "/tokenize", body), type=_Tokens)
        ids: list[list[int]] = [[]]
        for token in answer.tokens:
            if token == _BETWEEN:
                ids.append([])
            else:
                ids[-1].append(token)
        return ids[:-1]

    @asynccontextmanager
    async def complete(self, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Event]]:
        """Begin an answer and yield its events; leaving early breaks the connection off.

        Raises:
            ContextOverflow: the prompt does not fit.
            GrammarRefused: the grammar cannot be used.
            BackendError: the engine failed, or is gone.
        """
        await self._engine.ensure()
        try:
            async with self._answers.post(
                "http://engine/completion", data=msgspec.json.encode(body)
            ) as response:
                if response.status != 200:
                    raise _refused(response.status, await response.read())
                try:
                    async with aclosing(events(response.content.iter_any())) as stream:
                        yield stream
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise _gone(error) from error

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        await self._engine.ensure()
        try:
            async with self._calls.request(method, f"http://engine{path}", data=data) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _gone(error) from error
        if response.status != 200:
            raise _refused(response.status, answer)
        return answer


@asynccontextmanager
async def open_client(engine: Engine) -> AsyncIterator[Client]:
    """Make a client of an engine.

    A connection keeps a thread of the engine: those of answers are closed behind them, and few others stay.
    """
    forever = aiohttp.ClientTimeout(total=None)
    answers = aiohttp.UnixConnector(path=str(engine.socket), limit=0, force_close=True)
    calls = aiohttp.UnixConnector(path=str(engine.socket), limit=_CALLS_AT_ONCE)
    async with (
        aiohttp.ClientSession(connector=answers, timeout=forever) as answering,
        aiohttp.ClientSession(connector=calls, timeout=forever) as calling,
    ):
        yield Client(engine, answering, calling)


def _gone(error: Exception) -> BackendUnavailable:
    return BackendUnavailable(f"the engine is gone or was closed ({type(error).__name__})")


def _refused(status: int, body: bytes) -> OpenKimiError:
    try:
        reason = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        reason = _Reason()
    return failure(reason.message, reason.type, status)


def failure(message: str, type: str, status: int = 500) -> OpenKimiError:
    """Make our error of what the engine says."""
    if type == "exceed_context_size_error":
        return ContextOverflow("the prompt does not fit the model's window", param="messages")
    if "grammar" in message:
        return GrammarRefused(message)
    if status == 503:
        return BackendUnavailable("the engine is still loading its model")
    return BackendError(f"llama.cpp could not answer (status {status}): {message[:200]!r}")
