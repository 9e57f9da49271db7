"""Checks what ``server`` says about who may come in, before anything listens."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from openkimi.api_keys import refuse_twice
from openkimi.errors import ConfigError
from openkimi.key_file import read_key_file
from openkimi.secrets import Secret
from openkimi.sections import ServerSection

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

STORES = ("redis", "rediss", "unix", "valkey", "valkeys")
MEMORY = "memory://"

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s*]+")


def check_server(server: ServerSection) -> None:
    """Check the section ``server`` as far as its types cannot.

    Raises:
        ConfigError: names the place, and what it should be.
    """
    _ = (server.max_body_bytes, server.memory_ceiling_bytes)
    for name in ("allowed_ips", "trusted_proxies"):
        networks(getattr(server, name), where=f"server.{name}")
    names = tuple(host for host in server.allowed_hosts if plain_address(host.strip("[]")) is None)
    _check_all(names, _HOST, "server.allowed_hosts", "host names without a port")
    _check_all(
        server.cors_origins, _ORIGIN, "server.cors_origins", "origins like https://app.example.com, or *"
    )
    _check_store(server)
    from_file = () if server.api_keys_file is None else read_key_file(server.api_keys_file)
    refuse_twice((*server.api_keys, *from_file), where="server.api_keys")


def weak_keys(server: ServerSection) -> list[str]:
    """Name the places of keys that can be guessed; of a hash nobody can tell."""
    sources = {"server.api_keys": server.api_keys}
    if server.api_keys_file is not None:
        sources[server.api_keys_file] = read_key_file(server.api_keys_file)
    return [f"{source}[{at}]" for source, keys in sources.items() for at, key in enumerate(keys) if key.short]


def key_names(server: ServerSection) -> list[str]:
    """Name the keys, in the config's order and then the file's."""
    from_file = () if server.api_keys_file is None else read_key_file(server.api_keys_file)
    return [key.name for key in (*server.api_keys, *from_file)]


def networks(texts: tuple[str, ...], *, where: str) -> tuple[Network, ...]:
    """Read addresses and networks; an address is a network of one.

    Raises:
        ConfigError: one of them is neither.
    """
    return tuple(_network(text, f"{where}[{at}]") for at, text in enumerate(texts))


def plain_address(text: str) -> Address | None:
    """Read an address, None when it is none; an IPv4 address in IPv6's clothes becomes itself."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def redis_url(store: Secret) -> str:
    """Return a store's address as Redis' client knows it: Valkey speaks the same protocol."""
    return re.sub("^valkey", "redis", store.reveal())


def _network(text: str, place: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        hint = f"; {error}" if "host bits" in str(error) else ""
        raise ConfigError(
            f"{place}: expected an address or a network like 10.0.0.0/8 or fd00::/8, got {text!r}{hint}"
        ) from error


def _check_all(texts: tuple[str, ...], pattern: re.Pattern[str], where: str, expected: str) -> None:
    for text in texts:
        if not pattern.fullmatch(text):
            raise ConfigError(f"{where}: expected {expected}, got {text!r}")


def _check_store(server: ServerSection) -> None:
    store = server.rate_limit_store
    if store is None or store.reveal() == MEMORY:
        return
    place = "server.rate_limit_store"
    expected = f"expected {MEMORY}, redis://HOST:PORT/DB or valkey://HOST:PORT/DB"
    if store.reveal().partition("://")[0] not in STORES:
        raise ConfigError(f"{place}: {expected}")
    try:
        from redis.asyncio.connection import parse_url
    except ImportError as error:
        raise ConfigError(f"{place}: needs a client: pip install 'openkimi[redis]'") from error
    try:
        parse_url(redis_url(store))
    except ValueError as error:
        raise ConfigError(f"{place}: {expected}") from error
