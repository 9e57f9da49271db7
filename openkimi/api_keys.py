"""API keys as the config has them: read once, kept as hashes, never shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from openkimi.documents import ANONYMOUS
from openkimi.errors import ConfigError
from openkimi.secrets import Secret

SHORTEST = 16
"""Characters that a key should have at least: a shorter one can be guessed."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one caller may ask for in a minute; None: as much as it likes."""

    requests_per_minute: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None, msgspec.Meta(description="Requests under /v1; null: any.")
    ] = None
    tokens_per_minute: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(description="Tokens read and written; null: any."),
    ] = None


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key with a name, as an object of ``server.api_keys``."""

    name: Annotated[
        str,
        msgspec.Meta(
            pattern="^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$",
            description="Whose key it is: documents belong to this name.",
        ),
    ]
    key: Annotated[Secret | None, msgspec.Meta(description="The key itself.")] = None
    sha256: Annotated[
        Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{64}$")] | None,
        msgspec.Meta(description="In place of the key: its SHA-256, as `openkimi keys new` prints it."),
    ] = None
    rate_limit: Annotated[
        RateLimit | None,
        msgspec.Meta(description="This key's own limits, in place of all of server.rate_limit."),
    ] = None


class ApiKey:
    """A key as a SHA-256 digest; ``name`` is the tenant whose documents it opens.

    ``rate_limit`` is None where the server's holds. ``short`` tells that the key could be guessed.
    """

    __slots__ = ("digest", "name", "rate_limit", "short")

    def __init__(
        self,
        digest: bytes,
        *,
        name: str | None = None,
        rate_limit: RateLimit | None = None,
        short: bool = False,
    ) -> None:
        self.digest = digest
        self.name = name or f"key-{digest.hex()[:12]}"
        self.rate_limit = rate_limit
        self.short = short

    @classmethod
    def of(cls, value: object) -> ApiKey:
        """Read an entry of the config: a key, or an object as :class:`KeyEntry` describes it.

        Raises:
            ValueError: says what is wrong with it, and shows nothing of the key.
        """
        if isinstance(value, str):
            return cls._of_text(value)
        if not isinstance(value, Mapping):
            raise ValueError("Expected a key, or an object with `name` and `key` or `sha256`")
        try:
            entry = msgspec.convert(value, KeyEntry, dec_hook=_decode_secret)
        except msgspec.ValidationError as error:
            raise ValueError(_plain(str(error))) from error
        if (entry.key is None) == (entry.sha256 is None):
            raise ValueError("Expected one of `key` and `sha256`")
        if entry.name.endswith("\n"):  # which the pattern lets pass
            raise ValueError("The name ends with a line break")
        if entry.name == ANONYMOUS:
            raise ValueError(f"The name `{ANONYMOUS}` is that of callers without a key")
        if entry.sha256 is not None:
            return cls(bytes.fromhex(entry.sha256), name=entry.name, rate_limit=entry.rate_limit)
        assert entry.key is not None
        return cls._of_text(entry.key.reveal(), name=entry.name, rate_limit=entry.rate_limit)

    @classmethod
    def _of_text(cls, text: str, **options: Any) -> ApiKey:
        key = text.strip()
        if not key:
            raise ValueError("The key is empty")
        return cls(digest_of(key.encode()), short=len(key) < SHORTEST, **options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"ApiKey({self.name!r})"

    @property
    def _parts(self) -> tuple[object, ...]:
        return self.digest, self.name, self.rate_limit, self.short


def digest_of(key: bytes) -> bytes:
    """Hash a key."""
    return hashlib.sha256(key).digest()


def refuse_twice(keys: Iterable[ApiKey], *, where: str) -> None:
    """Check that each name and each key is there once.

    Raises:
        ConfigError: names what comes again.
    """
    names: set[str] = set()
    digests: set[bytes] = set()
    for key in keys:
        if key.digest in digests:
            raise ConfigError(f"{where}: one key is given twice; give each caller a key of its own")
        if key.name in names:
            raise ConfigError(f"{where}: the name '{key.name}' is given twice; choose another")
        names.add(key.name)
        digests.add(key.digest)


def _decode_secret(target: type, value: Any) -> Any:
    if target is Secret:
        return Secret.of(value)
    raise NotImplementedError(target)


def _plain(message: str) -> str:
    """Put the place first: ``sha256: Expected …``."""
    reason, _, place = message.partition(" - at `$.")
    return f"{place.rstrip('`')}: {reason[0].lower()}{reason[1:]}" if place else reason
