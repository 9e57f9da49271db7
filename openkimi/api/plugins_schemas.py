"""OpenKimi's own list of plugins."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from openkimi.plugins import PluginReport
from openkimi.providers import Role


class PluginObject(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, what it offers, and what became of it."""

    id: Annotated[str, msgspec.Meta(description="Its name.")]
    object: Literal["plugin"] = "plugin"
    module: str
    distribution: str | None
    version: str | None
    state: Literal["loaded", "failed", "blocked"]
    reason: Annotated[str | None, msgspec.Meta(description="Why it is not in use, or what it did wrong.")]
    remedy: Annotated[str | None, msgspec.Meta(description="What to do about that.")]
    hooks: list[str]
    kinds: Annotated[dict[Role, list[str]], msgspec.Meta(description="Its components, by their role.")]
    commands: list[str]
    routes: Annotated[list[str], msgspec.Meta(description="The methods and addresses that it serves.")]
    public: Annotated[list[str], msgspec.Meta(description="Those of them that need no key.")]
    asks_public: Annotated[
        list[str], msgspec.Meta(description="Those that would need none if `plugins.public` allowed it.")
    ]

    @classmethod
    def of(cls, report: PluginReport) -> PluginObject:
        """Describe a plugin by what is known of it."""
        fields = msgspec.structs.asdict(report)
        return cls(id=fields.pop("name"), **fields)


class PluginList(msgspec.Struct, frozen=True, kw_only=True):
    """All plugins that were found, also those that are left out."""

    object: Literal["list"] = "list"
    data: list[PluginObject]
