"""The OpenAPI document, with the schemas that check requests and write answers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPI
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from openkimi.api.openapi import ERRORS, EVENTS, FORM, JSON, RETRIED, Contract, ContractOperation, error_name
from openkimi.api.schemas import ErrorBody

_REF = "#/components/schemas/{name}"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
_HEADERS = {
    "X-Request-Id": {"description": "Stands in the gateway's log lines too.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
}
_CAPITAL = re.compile(r"([A-Z])")
_EVENT = "One of the server-sent events of a stream."

Json = dict[str, Any]


@dataclass
class DocumentConfig(OpenAPIConfig):
    """Makes the document of an application with the gateway's routes; ``keyed`` tells if keys are needed."""

    keyed: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.use_handler_docstrings = True
        self.operation_id_creator = _operation_id

    def to_openapi_schema(self) -> OpenAPI:
        """Return a document without paths; Litestar adds these."""
        plain = super().to_openapi_schema()
        document = _Document(**{field.name: getattr(plain, field.name) for field in fields(plain)})
        document.keyed = self.keyed
        return document


class _Document(OpenAPI):
    keyed: Callable[[], bool]

    def to_schema(self) -> Json:
        document = super().to_schema()
        contracts = dict(self._contracts())
        schemas, components = _schemas(list(contracts.values()))
        for (path, method), contract in contracts.items():
            operation = document["paths"][path][method]
            _clean(operation)
            operation["summary"] = _CAPITAL.sub(r" \1", operation["operationId"]).capitalize()
            operation |= _operation(contract, schemas, silent=method == "head")
            operation["security"] = self._security() if contract.keyed else []
        parts = document.setdefault("components", {})
        parts["schemas"] = {**parts.get("schemas", {}), **components}
        parts["responses"] = {error_name(status): _error(status) for status in ERRORS}
        parts["headers"] = _HEADERS
        parts["securitySchemes"] = {**parts.get("securitySchemes", {}), **_SCHEMES}
        return document

    def _security(self) -> list[Json]:
        needed: list[Json] = [{name: []} for name in _SCHEMES]
        return needed if self.keyed() else [*needed, {}]

    def _contracts(self) -> Iterator[tuple[tuple[str, str], Contract]]:
        for path, item in (self.paths or {}).items():
            for method in _METHODS:
                operation = getattr(item, method)
                if isinstance(operation, ContractOperation):
                    yield (path, method), operation.contract


def _operation(contract: Contract, schemas: dict[Any, Json], *, silent: bool) -> Json:
    """Describe body and responses; those to HEAD have no content."""
    answer: Json = {"description": "The answer.", "headers": _headers("X-Request-Id")}
    if contract.answer is not None:
        answer["content"] = {contract.media_type: {"schema": schemas[contract.answer]}}
    if contract.events is not None:
        answer["content"][EVENTS] = {"schema": _event(schemas[contract.events], schemas[ErrorBody])}
    responses: Json = {"200": answer}
    for status in sorted(contract.errors):
        reference = {"$ref": f"#/components/responses/{error_name(status)}"}
        responses[str(status)] = _error(status, silent=True) if silent else reference
    described: Json = {"responses": responses}
    if contract.body is not None:
        content: Json = {JSON: {"schema": schemas[contract.body]}}
        if contract.form is not None:
            content[FORM] = {"schema": schemas[contract.form]}
        content |= {media_type: {} for media_type in contract.files}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _event(*data: Json) -> Json:
    """Describe an event as an object, as OpenAPI 3.2 does."""
    json: Json = {"contentMediaType": JSON, "contentSchema": {"anyOf": [*data]}}
    properties: Json = {
        "event": {"type": "string"},
        "data": {"type": "string", "anyOf": [{"const": "[DONE]"}, json]},
    }
    return {"description": _EVENT, "type": "object", "properties": properties, "required": ["data"]}


def _error(status: int, *, silent: bool = False) -> Json:
    retry = ("Retry-After",) if status in RETRIED else ()
    error = {"description": ERRORS[status], "headers": _headers("X-Request-Id", *retry)}
    return (
        error if silent else {**error, "content": {JSON: {"schema": {"$ref": _REF.format(name="ErrorBody")}}}}
    )


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schemas(contracts: list[Contract]) -> tuple[dict[Any, Json], Json]:
    """Make the schema of each type in use, and the components that these refer to."""
    kinds = list(dict.fromkeys([ErrorBody, *(kind for contract in contracts for kind in contract.types)]))
    made, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schemas = dict(zip(kinds, made, strict=True))
    sent = {kind for contract in contracts for kind in contract.sent}
    lenient = _reached([schemas[kind] for kind in sent], components)
    for name, component in components.items():
        _clean(component)
        if name not in lenient:
            _require(component)
    return schemas, components


def _reached(schemas: list[Json], components: Json) -> set[str]:
    """Name the components that schemas refer to, directly or not."""
    reached: set[str] = set()
    waiting: list[Any] = list(schemas)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name in components and name not in reached:
                reached.add(name)
                waiting.append(components[name])
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return reached


def _require(component: Json) -> None:
    """Require what is always written: a field with a default is, one that is UNSET has none."""
    required = component.get("required", [])
    defaulted = (name for name, field in component.get("properties", {}).items() if "default" in field)
    component["required"] = [*required, *(name for name in defaulted if name not in required)]
    for field in component.get("properties", {}).values():
        field.pop("default", None)


def _clean(described: Json) -> None:
    """Turn a docstring into Markdown."""
    if "description" in described:
        described["description"] = inspect.cleandoc(described["description"]).replace("``", "`")


def _operation_id(
    handler: HTTPRouteHandler, method: Method, path: list[str | PathParameterDefinition]
) -> str:
    """Name an operation after its handler, and after its address where that has several."""
    words = handler.handler_name.split("_")
    if len(handler.paths) > 1:
        words += [part for part in path if isinstance(part, str) and part not in words]
    return words[0] + "".join(word.title() for word in words[1:])
