"""Answers to OPTIONS for addresses that take several methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler


def options_routes(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Make routes that name all methods of an address; the framework's own name those of one handler."""
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, set()).update(handler.http_methods)
    several = {path: found for path, found in methods.items() if len(found - {"HEAD"}) > 1}
    return [_options_route(path, found | {"OPTIONS"}) for path, found in several.items()]


def _options_route(path: str, methods: set[str]) -> HTTPRouteHandler:
    allowed = ", ".join(sorted(methods))

    @route(path, http_method="OPTIONS", include_in_schema=False)
    async def options() -> Response[Any]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    return options
