"""Calls of one server: keys, limits, timeouts and retries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog

from openkimi import BackendError, BackendTimeout, BackendUnavailable, UpstreamError, __version__
from openkimi_openai.address import Address, resolve
from openkimi_openai.connection import Connection
from openkimi_openai.failure import Failure, network_reason
from openkimi_openai.options import ServerOptions
from openkimi_openai.pool import ConnectTimeout, Pool

_RETRIED = frozenset({429, 502, 503, 504})
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 5.0
_ERROR_BODY = 65_536

log = structlog.get_logger()


class Client:
    """Posts JSON to one server; made by :func:`open_client`."""

    def __init__(self, pool: Pool, address: Address, options: ServerOptions, failure: Failure) -> None:
        self._pool = pool
        self._options = options
        self._slots = asyncio.Semaphore(options.concurrency)
        self.address = address
        self.host = address.host
        self.failure = failure

    @asynccontextmanager
    async def post(
        self, path: str, payload: Mapping[str, Any], *, patience: float = 1.0
    ) -> AsyncIterator[Connection]:
        """Post JSON and yield the connection to read from once its status says that all is well.

        Tries again, as the option ``retries`` says, while nothing of an answer has come. A connection
        whose answer was not read to its end is closed when the block is left. The server may be silent
        for ``patience`` times the option ``timeout``.

        Raises:
            BackendUnavailable: the server cannot be reached.
            BackendTimeout: the server is too slow.
            UpstreamError: the server answered with an error of its own.
            BackendError: the connection broke in the middle of the answer.
        """
        body, silence = msgspec.json.encode(payload), self._options.timeout * patience
        async with self._slots:
            response = await self._answer(path, body, silence)
            try:
                yield response
            except OSError as error:
                what = f"{self.host} broke off its answer"
                raise self._translated(error, BackendError, what, silence) from error
            finally:
                self._pool.release(response)

    async def post_json(self, path: str, payload: Mapping[str, Any]) -> bytes:
        """Post JSON and read the whole answer."""
        async with self.post(path, payload) as response:
            return await response.read()

    async def _answer(self, path: str, body: bytes, silence: float) -> Connection:
        tried = 0
        while True:
            try:
                return await self._try(path, body, silence)
            except (BackendUnavailable, UpstreamError) as error:
                delay = _delay(tried, error.retry_after)
                status = error.status if isinstance(error, UpstreamError) else None
                if tried == self._options.retries or delay is None or status not in (None, *_RETRIED):
                    raise
                log.warning("upstream_retry", host=self.host, status=status, delay=round(delay, 2))
            await asyncio.sleep(delay)
            tried += 1

    async def _try(self, path: str, body: bytes, silence: float) -> Connection:
        try:
            response = await self._pool.post(path, body, silence=silence)
            if 200 <= response.status < 300 and not _is_compressed(response):
                return response
            try:
                said = await response.read(_ERROR_BODY)
            finally:
                self._pool.release(response)
        except OSError as error:
            what = f"cannot reach {self.failure.place}"
            raise self._translated(error, BackendUnavailable, what, silence) from error
        if _is_compressed(response):
            coding = response.headers["content-encoding"][:40]
            raise BackendError(f"{self.host} compressed its answer ({coding}) though it was asked not to")
        raise self.failure.refused(response.status, response.headers, said)

    def _translated(
        self, error: OSError, kind: type[BackendError], what: str, silence: float
    ) -> BackendError:
        """Make our error of one of the network."""
        if isinstance(error, ConnectTimeout):
            limit = f"{self._options.connect_timeout:g} s"
            return BackendTimeout(f"{self.failure.place} took no connection within {limit}")
        if isinstance(error, TimeoutError):
            return BackendTimeout(f"{self.host} sent nothing for {silence:g} s")
        return kind(self.failure.clean(f"{what}: {network_reason(error)}"))


@asynccontextmanager
async def open_client(options: ServerOptions, *, section: str) -> AsyncIterator[Client]:
    """Make a client of the server that a section's options name; its connections close at the end.

    Raises:
        ConfigError: the options do not name a server.
    """
    address = resolve(options)
    secrets = [*options.headers.values(), *([address.key] if address.key else [])]
    pool = Pool(address.url, _headers(address, options), connect_timeout=options.connect_timeout)
    try:
        yield Client(pool, address, options, Failure(address, section, secrets))
    finally:
        pool.close()


def _headers(address: Address, options: ServerOptions) -> dict[str, str]:
    """Join our headers and the user's, which win."""
    headers = {
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"openkimi/{__version__}",
    }
    if address.key is not None:
        headers["authorization"] = f"Bearer {address.key.reveal()}"
    return headers | {name.lower(): value.reveal() for name, value in options.headers.items()}


def _is_compressed(response: Connection) -> bool:
    return response.headers.get("content-encoding", "").lower() not in {"", "identity"}


def _delay(tried: int, retry_after: float | None) -> float | None:
    """Choose how long to wait before another try; None when the server wants a longer break."""
    if retry_after is None:
        return min(_FIRST_DELAY * 2.0**tried, _LONGEST_DELAY) * random.uniform(0.5, 1.0)
    return retry_after + random.uniform(0, 0.1) if retry_after <= _LONGEST_DELAY else None
