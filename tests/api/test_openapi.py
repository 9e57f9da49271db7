"""The OpenAPI document: complete, and what the gateway really does."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from litestar import Litestar

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.api.openapi import ERRORS, error_name

BOOK = "The lighthouse of Orrin belongs to Marta Veil. " * 40
ASKED = {
    "messages": [{"role": "user", "content": "Who owns the lighthouse?"}],
    "tools": [{"type": "function", "function": {"name": "look_up"}}],
    "tool_choice": "auto",
    "logprobs": True,
    "top_logprobs": 2,
}


@pytest.fixture
def app() -> Litestar:
    return create_app(KimiEngine(llm_config={"type": "scripted"}))


@pytest.fixture
def document(app: Litestar) -> Any:
    return app.openapi_schema.to_schema()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def validator(document: Any, schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def schema_of(document: Any, path: str, method: str = "post", *, status: int = 200) -> Any:
    response = document["paths"][path][method]["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response["content"]["application/json"]["schema"]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (value["$ref"],) if isinstance(value.get("$ref"), str) else ()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from references(inner)


def test_every_route_is_described(app: Litestar, document: Any) -> None:
    """Each route has a body where it takes one, an answer, errors and a sentence on what it does."""
    routes = {
        (path, method.lower())
        for route in app.routes
        if not (path := route.path_format).startswith("/schema")
        for method in set(route.methods) - {"OPTIONS"}
    }

    described = {(path, method) for path, method, _ in operations(document)}

    assert described == routes
    for path, method, operation in operations(document):
        assert operation["description"], path
        assert ("requestBody" in operation) == (method == "post"), path
        assert ("content" in operation["responses"]["200"]) == (method != "head"), path
        assert {"500", "503"} <= set(operation["responses"]), path
    assert len({operation["operationId"] for _, _, operation in operations(document)}) == len(routes)


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: Any) -> None:
    """The document holds all that it refers to, and its schemas are valid JSON Schema."""
    for reference in references(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]

    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert set(document["components"]["responses"]) == {error_name(status) for status in ERRORS}


def test_limits_and_descriptions_come_from_the_structs(document: Any) -> None:
    """What checks a request also describes it; what is always written is required in an answer."""
    schemas = document["components"]["schemas"]

    temperature = schemas["ChatCompletionRequest"]["properties"]["temperature"]
    assert {"type": "number", "minimum": 0, "maximum": 2}.items() <= temperature["anyOf"][0].items()
    assert schemas["ChatCompletionRequest"]["required"] == ["messages"]
    assert {"object", "usage", "choices"} <= set(schemas["ChatCompletion"]["required"])
    assert "openkimi" not in schemas["ChatCompletion"]["required"]
    assert "``" not in json.dumps(document)


@pytest.mark.parametrize("keys", [[], ["secret"]])
def test_security_is_what_the_config_asks_for(keys: list[str]) -> None:
    """Under /v1 a key is needed where there are keys, and optional elsewhere; probes need none."""
    engine = KimiEngine(llm_config={"type": "scripted"})
    engine._overrides["server"] = {"api_keys": keys}

    document = create_app(engine).openapi_schema.to_schema()

    for path, _, operation in operations(document):
        wanted = [{"bearer": []}, {"key": []}] if path.startswith("/v1") else []
        assert operation["security"] == wanted + [{}] * (path.startswith("/v1") and not keys)


async def test_answers_are_as_described(gateway: Any) -> None:
    """Answers with log-probabilities, tool calls, receipts and errors fit their schemas."""
    calls = [{"name": "look_up", "arguments": {"what": "owner"}}]
    found = {**ASKED, "messages": [{"role": "system", "content": BOOK}, *ASKED["messages"]]}

    async with gateway(tool_calls=calls) as calling, gateway(context_length=256) as reading:
        async with calling.http.get("/schema/openapi.json") as response:
            document = await response.json()
        answers = [await calling.chat(ASKED), await reading.chat({**found, "tools": None})]
        errors = [await calling.chat({}), await calling.chat({**ASKED, "n": 0})]

    for status, body in [*answers, *errors]:
        validator(document, schema_of(document, "/v1/chat/completions", status=status)).validate(body)
    assert [status for status, _ in [*answers, *errors]] == [200, 200, 400, 400]
    assert answers[0][1]["choices"][0]["message"]["tool_calls"]
    assert answers[1][1]["openkimi"]["passages"]


async def test_events_are_as_described(gateway: Any) -> None:
    """Each event of a stream fits the schema of its data, an error in the middle too."""
    asked = {**ASKED, "stream_options": {"include_usage": True}}

    async with gateway(reply="Marta Veil does.", fail_after=3) as server:
        async with server.http.get("/schema/openapi.json") as response:
            document = await response.json()
        lines = await server.lines(asked)

    content = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    described = content["text/event-stream"]["schema"]["properties"]["data"]["anyOf"][1]["contentSchema"]
    event = validator(document, described)
    events = [json.loads(line.removeprefix("data: ")) for line in lines if not line.endswith("[DONE]")]
    for each in events:
        event.validate(each)
    assert "error" in events[-1]


async def test_a_model_of_any_name_is_described(gateway: Any) -> None:
    """The id comes back as it was asked for, with slashes and what was percent-encoded."""
    names = ["gpt-4o", "Qwen/Qwen2.5-0.5B", "ft:x:y", "über", "a%2Fb", "models/v1/models/x"]

    async with gateway() as server:
        shown = []
        for name in names:
            async with server.http.get(f"/v1/models/{name}") as response:
                shown.append((await response.json())["id"])

    assert shown == [name.replace("%2F", "/") for name in names]
