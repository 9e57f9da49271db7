"""Rate limits: how many requests and tokens a minute a caller may have."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property, partial
from ipaddress import IPv6Address

import msgspec
from litestar.exceptions import TooManyRequestsException

from openkimi.access import plain_address
from openkimi.api.auth import Connection, caller_of
from openkimi.api.buckets import Buckets, Draw, Drawn, open_buckets
from openkimi.api.metering import Meter, metered
from openkimi.documents import ANONYMOUS
from openkimi.engine import KimiEngine
from openkimi.pipeline import Event
from openkimi.secrets import Secret

_MINUTE = 60.0
_ROUNDING = 1e-4
_ALWAYS = 1e300
_ACCOUNT = "openkimi_account"
_HEADERS = "openkimi_headers"


class RateLimited(TooManyRequestsException):
    """A caller has used up its minute; ``retry_after`` is in seconds."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(detail=message)
        self.retry_after = retry_after


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may draw in a minute from a bucket of its own, in ``unit``."""

    caller: str
    unit: str
    limit: int

    @property
    def key(self) -> str:
        """The bucket's name."""
        return f"{self.caller}:{self.unit}"

    def draw(self, amount: int, *, room: int) -> Draw:
        """Draw an amount if there is that much room."""
        most = _MINUTE - self._seconds(room) + _ROUNDING if room else _ALWAYS
        return Draw(key=self.key, cost=self._seconds(amount), most=most)

    def headers(self, debt: float) -> list[tuple[bytes, bytes]]:
        """Tell how much is left, as OpenAI's headers do."""
        left = max(0, math.floor((_MINUTE - debt) / self._seconds(1) + _ROUNDING))
        values = {"limit": str(self.limit), "remaining": str(left), "reset": duration(debt)}
        return [(f"x-ratelimit-{name}-{self.unit}".encode(), text.encode()) for name, text in values.items()]

    def _seconds(self, amount: int) -> float:
        return amount * _MINUTE / self.limit


class Limits:
    """The rate limits of an engine's config; they cost nothing where there are none."""

    def __init__(self, engine: KimiEngine) -> None:
        self._engine = engine
        self._handed_on = False

    async def admit(self, connection: Connection) -> None:
        """Count a request, or refuse it.

        Raises:
            RateLimited: the caller has used up its requests or its tokens.
        """
        accounts = self._accounts(connection)
        if not accounts:
            return
        # A request is drawn when it comes. Tokens are known at its end: till then one of them must be left.
        draws = [account.draw(account.unit == "requests", room=1) for account in accounts]
        drawn = await self._buckets.draw(draws)
        state = connection.scope["state"]
        state[_ACCOUNT] = next((account for account in accounts if account.unit == "tokens"), None)
        state[_HEADERS] = [
            header
            for account, debt in zip(accounts, drawn.debts, strict=True)
            for header in account.headers(debt)
        ]
        if not drawn.passed:
            raise _refusal(accounts, draws, drawn)

    async def charge(self, connection: Connection, tokens: int) -> None:
        """Draw the tokens of an answer, also where there are not that many left."""
        if account := connection.scope["state"].get(_ACCOUNT):
            await self._charge(account, tokens)

    def metered(
        self, connection: Connection, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        """Charge for an answer's tokens when it ends, or when its caller leaves."""
        account = connection.scope["state"].get(_ACCOUNT)
        return metered(events, Meter(), partial(self._charge, account)) if account else events

    def take_over(self, before: Limits) -> None:
        """Count on from where other limits are, if they count in the same place."""
        if before._store == self._store:
            self._buckets, before._handed_on = before._buckets, True

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncGenerator[None, None]:
        """Let go of the store when an application ends."""
        try:
            yield
        finally:
            if "_buckets" in self.__dict__ and not self._handed_on:
                await self._buckets.aclose()

    async def _charge(self, account: Account, tokens: int) -> None:
        await self._buckets.draw([account.draw(tokens, room=0)])

    @cached_property
    def _buckets(self) -> Buckets:
        return open_buckets(self._store)

    @property
    def _store(self) -> Secret | None:
        return self._engine.config.server.rate_limit_store

    def _accounts(self, connection: Connection) -> list[Account]:
        server, caller = self._engine.config.server, caller_of(connection)
        limit = caller.rate_limit or server.rate_limit
        if limit is None:
            return []
        known = caller.tenant != ANONYMOUS
        name = f"key:{caller.tenant}" if known else f"address:{_network_of(connection)}"
        amounts = {"requests": limit.requests_per_minute, "tokens": limit.tokens_per_minute}
        return [
            Account(caller=name, unit=unit, limit=amount)
            for unit, amount in amounts.items()
            if amount is not None
        ]


def limit_headers(state: dict[str, object]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer to a request that was counted."""
    headers = state.get(_HEADERS)
    return headers if isinstance(headers, list) else []


def duration(seconds: float) -> str:
    """Write seconds as OpenAI's headers do: ``120ms``, ``8.6s``, ``6m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"


def _refusal(accounts: list[Account], draws: list[Draw], drawn: Drawn) -> RateLimited:
    waits = [debt - draw.most for debt, draw in zip(drawn.debts, draws, strict=True)]
    wait = max(waits)
    account = accounts[waits.index(wait)]
    seconds = max(1, math.ceil(wait))
    return RateLimited(
        f"the limit of {account.limit} {account.unit} a minute is used up; try again in {seconds} s",
        retry_after=seconds,
    )


def _network_of(connection: Connection) -> str:
    """Name whom an address belongs to: in IPv6 a caller has a whole /64 of them."""
    host = connection.client.host if connection.client else ""
    address = plain_address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address or host)
