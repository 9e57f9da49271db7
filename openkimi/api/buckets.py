"""Counts what callers draw, in this process or in Redis or Valkey for several.

The generic cell rate algorithm (ITU-T I.371): a caller's past draws are one number, the seconds until its
bucket is full again. It needs no window that begins anew, and what was drawn beyond the limit, because it
is only known afterwards, is paid back in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from openkimi.access import MEMORY, redis_url
from openkimi.secrets import Secret

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

log = structlog.get_logger()

_SWEEP_EVERY = 60.0
_STORE_SECONDS = 1.0
_STORE_PAUSE = 5.0
_PREFIX = "openkimi:limit:"

_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local debts, passed = {}, 1
for i, key in ipairs(KEYS) do
  debts[i] = math.max(0, tonumber(redis.call('GET', key) or now) - now)
  if debts[i] > tonumber(ARGV[2 * i]) then passed = 0 end
end
for i, key in ipairs(KEYS) do
  local cost = tonumber(ARGV[2 * i - 1])
  if passed == 1 and cost > 0 then
    debts[i] = debts[i] + cost
    redis.call('SET', key, string.format('%.6f', now + debts[i]), 'PX', math.ceil(debts[i] * 1000))
  end
  debts[i] = string.format('%.6f', debts[i])
end
return {passed, debts}
"""


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn from the bucket ``key``: ``cost``, when its debt is ``most`` or less; both in seconds."""

    key: str
    cost: float
    most: float


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """Whether draws passed, and the debts after them, in seconds."""

    passed: bool
    debts: tuple[float, ...]


class Buckets(Protocol):
    """Where debts are kept."""

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        """Draw from all buckets, or from none when one of them does not let it pass."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


def open_buckets(store: Secret | None) -> Buckets:
    """Make the buckets that ``server.rate_limit_store`` names."""
    if store is None or store.reveal() == MEMORY:
        return MemoryBuckets()
    return SharedBuckets(store)


class MemoryBuckets:
    """Keeps debts in this process."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}
        self._sweep_at = 0.0

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        """Draw at once: nothing else runs in between."""
        now = time.monotonic()
        self._sweep(now)
        debts = [max(0.0, self._full_at.get(draw.key, now) - now) for draw in draws]
        passed = all(debt <= draw.most for debt, draw in zip(debts, draws, strict=True))
        if passed:
            debts = [debt + draw.cost for debt, draw in zip(debts, draws, strict=True)]
            self._full_at.update(
                {draw.key: now + debt for debt, draw in zip(debts, draws, strict=True) if debt}
            )
        return Drawn(passed=passed, debts=tuple(debts))

    async def aclose(self) -> None:
        """Forget all debts."""
        self._full_at.clear()

    def _sweep(self, now: float) -> None:
        if now >= self._sweep_at:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
            self._sweep_at = now + _SWEEP_EVERY


class SharedBuckets:
    """Keeps debts in Redis or Valkey, by one script that runs there as a whole.

    While the store does not answer, this process counts by itself, and tries again every few seconds: a
    broken store neither locks everybody out nor lets everybody do anything.
    """

    def __init__(self, store: Secret) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        # One more try at once mends a connection that a restarted store has closed; waiting is for callers.
        self._client = Redis.from_url(redis_url(store), retry=Retry(NoBackoff(), 1))
        self._script: AsyncScript = self._client.register_script(_SCRIPT)
        self._own = MemoryBuckets()
        self._try_at = 0.0

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        """Draw in the store, or from this process' own buckets while it is away."""
        if time.monotonic() < self._try_at:
            return await self._own.draw(draws)
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(_STORE_SECONDS):
                return await self._draw(draws)
        except (RedisError, OSError) as error:
            self._try_at = time.monotonic() + _STORE_PAUSE
            log.warning(
                "rate_limit_store_failed",
                error=type(error).__name__,
                remedy="is server.rate_limit_store reachable? until then each gateway counts by itself",
            )
            return await self._own.draw(draws)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _draw(self, draws: Sequence[Draw]) -> Drawn:
        passed, debts = await self._script(
            keys=[f"{_PREFIX}{draw.key}" for draw in draws],
            args=[number for draw in draws for number in (draw.cost, draw.most)],
        )
        return Drawn(passed=bool(passed), debts=tuple(float(debt) for debt in debts))
