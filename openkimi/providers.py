"""How a plugin offers a component: its kind, its options and how to open it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from openkimi.contracts import CONTRACT_VERSION, Embedder
from openkimi.diagnosis import Finding
from openkimi.errors import PluginError

T = TypeVar("T")
Role = Literal["backend", "embedder", "processor", "retriever", "sampler", "synthesizer"]
ROLES: tuple[Role, ...] = ("backend", "embedder", "processor", "retriever", "sampler", "synthesizer")


class NoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a kind that has none."""


class OpenContext(Protocol):
    """What a component may use while it is opened and for as long as it is open."""

    @property
    def embedder(self) -> Embedder:
        """The configured embedder, open; not to be used by backends and embedders themselves.

        Raises:
            PluginError: asked for by a backend or an embedder.
        """
        ...


class Provider(Generic[T]):
    """A kind of component that a plugin registers.

    ``kind`` is what users write as ``type`` in the config; ``aliases`` are other names for it. ``config``
    is the msgspec Struct of its options (keyword-only, frozen). ``open`` takes those options and an
    :class:`OpenContext` and returns an async context manager that yields the component; it is entered and
    left in the same task, once per distinct options. ``check`` looks at the options before anything is
    opened and raises :class:`openkimi.ConfigError` for what would fail; it loads nothing. ``diagnose`` looks
    more closely, for ``openkimi doctor``, and returns what it finds; it changes nothing. ``contract`` is the
    :data:`openkimi.CONTRACT_VERSION` that the plugin was written for; a :class:`openkimi.PluginError` refuses
    another one.
    """

    __slots__ = ("aliases", "check", "config", "contract", "description", "diagnose", "kind", "open")

    def __init__(
        self,
        kind: str,
        open: Callable[[Any, OpenContext], AbstractAsyncContextManager[T]],
        config: type[msgspec.Struct] = NoOptions,
        *,
        aliases: Iterable[str] = (),
        description: str = "",
        check: Callable[[Any], None] | None = None,
        diagnose: Callable[[Any], Iterable[Finding]] | None = None,
        contract: int = CONTRACT_VERSION,
    ) -> None:
        if not isinstance(contract, int):
            raise PluginError(f"the kind '{kind}': contract must be a whole number, not {contract!r}")
        if contract != CONTRACT_VERSION:
            newer = "openkimi" if contract > CONTRACT_VERSION else "version of the plugin"
            raise PluginError(
                f"the kind '{kind}' was written for contract {contract}, this OpenKimi has contract "
                f"{CONTRACT_VERSION}: install a newer {newer}"
            )
        self.kind = kind
        self.open = open
        self.config = config
        self.aliases = tuple(aliases)
        self.description = description
        self.check = check
        self.diagnose = diagnose
        self.contract = contract

    @property
    def module(self) -> str:
        """The module that ``open`` stands in, to name whose it is."""
        return str(getattr(self.open, "__module__", "unknown"))

    def __repr__(self) -> str:
        return f"Provider({self.kind!r})"
