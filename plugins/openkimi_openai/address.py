"""Decides where calls go and which key goes with them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from openkimi import ConfigError, Secret
from openkimi_openai.options import ServerOptions

OPENAI = "https://api.openai.com/v1"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A server's base URL, the key for it, and where the two were given."""

    url: str
    key: Secret | None
    url_from: str
    key_from: str

    @property
    def host(self) -> str:
        """The host with its port."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(options: ServerOptions, environ: Mapping[str, str] = os.environ) -> Address:
    """Find the server's address and key; the file beats the environment.

    ``OPENAI_API_KEY`` goes to ``OPENAI_API_BASE`` or to OpenAI's own address, never to another ``api_url``.

    Raises:
        ConfigError: the address is none, or OpenAI's own has no key.
    """
    url, url_from = _url(options, environ)
    _check_url(url, url_from)
    own = _place(url) == _place(OPENAI)
    key, key_from = options.api_key, "api_key"
    if key is None and (options.api_url is None or own) and environ.get("OPENAI_API_KEY"):
        key, key_from = Secret(environ["OPENAI_API_KEY"]), "OPENAI_API_KEY"
    if own and not key and not _gives_authorization(options):
        raise ConfigError("api_key: OpenAI's own address needs a key; set it here or in OPENAI_API_KEY")
    return Address(url=url.rstrip("/"), key=_clean(key, key_from), url_from=url_from, key_from=key_from)


def check(options: ServerOptions) -> None:
    """Check address, key and headers without calling anyone.

    Raises:
        ConfigError: names the option at fault.
    """
    resolve(options)
    for name, value in options.headers.items():
        if not _HEADER.fullmatch(name):
            raise ConfigError(f"headers: {name!r} is not a header's name")
        if not _is_header_value(value.reveal()):
            raise ConfigError(f"headers.{name}: has characters that a header must not have")


def _url(options: ServerOptions, environ: Mapping[str, str]) -> tuple[str, str]:
    if options.api_url is not None:
        return options.api_url, "api_url"
    if environ.get("OPENAI_API_BASE"):
        return environ["OPENAI_API_BASE"], "OPENAI_API_BASE"
    return OPENAI, "api_url"


def _check_url(url: str, url_from: str) -> None:
    try:
        parts = urlsplit(url)
        named = bool((parts.hostname or "").encode("idna"))  # refuses "a..b" and labels that are too long
        valid = parts.scheme in ("http", "https") and named and parts.port != 0
    except ValueError:
        valid = False
    if not valid or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise ConfigError(f"{url_from}: expected an address like http://127.0.0.1:8080/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(f"{url_from}: must not hold a user, a query or a fragment; use api_key and headers")
    for path in ("/chat/completions", "/embeddings"):
        if parts.path.rstrip("/").endswith(path):
            raise ConfigError(f"{url_from}: give the base address, without {path}")


def _place(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or 443, parts.path.rstrip("/")


def _gives_authorization(options: ServerOptions) -> bool:
    return any(name.lower() == "authorization" for name in options.headers)


def _clean(key: Secret | None, key_from: str) -> Secret | None:
    """Drop the line break that a key read from a file often ends with."""
    if not key:
        return None
    value = key.reveal().strip()
    if not _is_header_value(value):
        raise ConfigError(f"{key_from}: has characters that a key cannot have")
    return Secret(value) if value else None


def _is_header_value(value: str) -> bool:
    return value.isascii() and (value.isprintable() or not value)
