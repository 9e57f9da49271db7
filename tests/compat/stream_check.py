"""A check for schemathesis: each event of a stream fits the schema that stands beside it."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from jsonschema import Draft202012Validator


@schemathesis.check
def events_conform(ctx: Any, response: Any, case: Any) -> None:
    """Validate the data of each event, and that every event ends with a blank line."""
    if "text/event-stream" not in response.headers.get("content-type", [""])[0]:
        return
    described = case.operation.schema.raw_schema
    answer = described["paths"][case.operation.path][case.method.lower()]["responses"]["200"]
    schema = answer["content"]["text/event-stream"]["schema"]["properties"]["data"]["contentSchema"]
    validator = Draft202012Validator({**schema, "components": described["components"]})
    assert response.content.endswith(b"\n\n"), "the last event has no end"
    for event in response.content.decode("utf-8").removesuffix("\n\n").split("\n\n"):
        for line in event.split("\n"):
            if line.startswith("data: ") and line != "data: [DONE]":
                validator.validate(json.loads(line.removeprefix("data: ")))
