"""The core's own keys of config.json, section by section."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from openkimi.api_keys import ApiKey, RateLimit
from openkimi.errors import ConfigError
from openkimi.modes import OnUnsupported
from openkimi.secrets import Secret

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options every section has in common: unknown ones are errors."""


class LlmSection(Section, frozen=True, kw_only=True):
    """Keys of ``llm`` that hold for every kind."""

    context_length: Annotated[
        Annotated[int, msgspec.Meta(ge=256)] | None,
        msgspec.Meta(description="Tokens of prompt and answer together; null: the model's own."),
    ] = None


class RagSection(Section, frozen=True, kw_only=True):
    """Keys of ``rag`` that hold for every kind."""

    max_context_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(description="Most tokens of document text in a prompt; null: what suits the model."),
    ] = None
    top_k: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(
            description="The most passages in a prompt; null: as many as fit, or 3 with a small model and "
            "`max_context_tokens` null."
        ),
    ] = None
    rerank_ms: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="Milliseconds that ordering the best passages anew by the reranker may take for each "
            "search; 0 is off.",
        ),
    ] = 0
    similarity_threshold: Annotated[
        Annotated[float, msgspec.Meta(ge=-1, le=1)] | None,
        msgspec.Meta(description="Least cosine of a passage that shares no word with the question."),
    ] = None
    exhaustive_max_calls: Annotated[
        int,
        msgspec.Meta(ge=1, description="Most answers of the model for one request in the mode exhaustive."),
    ] = 256


class MprSection(Section, frozen=True, kw_only=True):
    """How several reasoning paths are sampled and made into one answer."""

    sampling: Annotated[str, msgspec.Meta(description="Picks each path's context.")] = "diversity"
    synthesis: Annotated[str, msgspec.Meta(description="The kind of synthesizer that makes one answer.")] = (
        "hierarchical"
    )
    gate: Annotated[
        bool | None,
        msgspec.Meta(
            description="Walk the first path alone, and no other where its answer is clear; null: on where "
            "paths come one after another, as on a processor."
        ),
    ] = None
    early_stop: Annotated[
        bool, msgspec.Meta(description="Walk no further path once enough answers agree.")
    ] = True
    timeout: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(
            description="Seconds after which no more paths are waited for, if one has come; null: all are."
        ),
    ] = None
    max_total_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(
            description="Tokens, read and written, beyond which no path but the first is started; null: any."
        ),
    ] = None
    on_unsupported: Annotated[
        OnUnsupported,
        msgspec.Meta(
            description="Where nothing that was read bears an answer out: `answer` gives it all the same, "
            "`decline` says that the document does not say."
        ),
    ] = "decline"
    declining: Annotated[
        str | None,
        msgspec.Meta(description="What `decline` says; null: a sentence in the language of the question."),
    ] = None


class TlsSection(Section, frozen=True, kw_only=True):
    """What the gateway shows for HTTPS: PEM files."""

    certificate: Annotated[
        str, msgspec.Meta(description="The certificate, and those between it and its root.")
    ]
    key: Annotated[str, msgspec.Meta(description="The certificate's private key.")]
    key_password: Annotated[
        Secret | None, msgspec.Meta(description="What the private key is encrypted with.")
    ] = None


class ServerSection(Section, frozen=True, kw_only=True):
    """Where and how the gateway listens, and who may come in."""

    host: Annotated[str, msgspec.Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535, description="The port; 0 takes a free one.")] = 8000
    api_keys: Annotated[
        tuple[ApiKey, ...],
        msgspec.Meta(description='Keys that may call /v1, best as {"$env": "NAME"}; none: anyone may.'),
    ] = ()
    api_keys_file: Annotated[
        str | None,
        msgspec.Meta(description="A JSON file with more of them, read again when it changes."),
    ] = None
    rate_limit: Annotated[
        RateLimit | None,
        msgspec.Meta(description="How much a key, or without keys an address, may ask for; null: any."),
    ] = None
    rate_limit_store: Annotated[
        Secret | None,
        msgspec.Meta(
            description="Where several gateways count together: redis://… or valkey://…; null: apart."
        ),
    ] = None
    allowed_ips: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Addresses and networks that may connect, like 10.0.0.0/8; none: all."),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Host names that it answers to, like *.example.com; none: all."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Web pages that may call it, like https://app.example.com, or *."),
    ] = ()
    tls: Annotated[TlsSection | None, msgspec.Meta(description="Serve HTTPS with these PEM files.")] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."),
    ] = ()
    watch_config: Annotated[
        bool,
        msgspec.Meta(description="Reload when the config file changes, or a file of `server.tls`."),
    ] = False
    max_body_size: Annotated[
        int | str, msgspec.Meta(description="The largest request body, in bytes or like 64MiB.")
    ] = "64MiB"
    max_queue: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="Requests that may wait for the model; more get a 503 at once; null: all."),
    ] = 64
    request_timeout: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(description="Seconds a request may take, its wait included; null: any time."),
    ] = 600.0
    trim_interval: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(
            description="Seconds after which caches are emptied and memory is given back, if anything was "
            "done meanwhile; null: never."
        ),
    ] = None
    memory_ceiling: Annotated[
        int | str | None,
        msgspec.Meta(
            description="The most memory that the process should have, like 4GiB, its model included: above "
            "it the same is done at once; null: any."
        ),
    ] = None

    @property
    def needs_key(self) -> bool:
        """Whether callers have to show a key; an empty file of keys lets nobody in."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def max_body_bytes(self) -> int:
        """The largest request body in bytes."""
        return parse_size(self.max_body_size, where="server.max_body_size")

    @property
    def memory_ceiling_bytes(self) -> int | None:
        """The most memory of the process in bytes, None for any."""
        if self.memory_ceiling is None:
            return None
        return parse_size(self.memory_ceiling, where="server.memory_ceiling")


class PluginsSection(Section, frozen=True, kw_only=True):
    """Which plugins are loaded beside, or left out of, the installed ones."""

    load: Annotated[
        tuple[str, ...], msgspec.Meta(description="Modules to load beside the installed ones.")
    ] = ()
    block: Annotated[tuple[str, ...], msgspec.Meta(description="Plugins to leave out, by name.")] = ()
    public: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Plugins whose routes need no key where they are marked so, by name."),
    ] = ()
    options: Annotated[
        dict[str, dict[str, Any]],
        msgspec.Meta(description="What plugins for the application are told, by the plugin's name."),
    ] = {}


def parse_size(size: int | str, *, where: str) -> int:
    """Turn ``64MiB``, ``10 MB`` or a plain number into bytes.

    Raises:
        ConfigError: it is none of these, or not above zero.
    """
    match = re.fullmatch(r"(\d{1,15})\s*([KMG]?i?B|)", str(size).strip(), re.IGNORECASE)
    if match is None or not int(match[1]):
        raise ConfigError(f"{where}: expected a size like 64MiB or a number of bytes, got {size!r}")
    return int(match[1]) * _UNITS[match[2].upper()]
