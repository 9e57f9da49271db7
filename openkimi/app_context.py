"""What the hooks of an application are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from openkimi.engine import KimiEngine


class AppContext(Protocol):
    """The application as one plugin sees it: the same object in all of the plugin's hooks."""

    @property
    def name(self) -> str:
        """The plugin's name: its entry point's, or that of the module or the class."""
        ...

    @property
    def options(self) -> Any:
        """The Struct of ``register_options``, filled from ``plugins.options`` of the config; None without."""
        ...

    @property
    def engine(self) -> KimiEngine:
        """The engine; its config is checked, and it opens on first use, if it is not open already."""
        ...

    @property
    def state(self) -> dict[str, Any]:
        """A dictionary of the plugin's own, for what its hooks share."""
        ...

    @property
    def previous(self) -> AppContext | None:
        """The one that this takes the place of, while a reload builds it and starts it; None otherwise."""
        ...
