"""What holds an answer: the grammar of its format and of the calls that it may make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from openkimi import GenerateRequest, RequestError, ResponseFormat, Tool
from openkimi_gguf.dialect import MOST_CALLS, Dialect
from openkimi_gguf.gbnf import GrammarError, Rules
from openkimi_gguf.json_schema import SchemaRules

NO_PARAMETERS = {"type": "object", "properties": {}}


class Form(NamedTuple):
    """A grammar in GBNF, None for text that nothing holds; where ``lazy``, from a call's beginning on.

    ``names`` are the functions that may be called, in the ``dialect``. ``param`` is the request's field that
    an unusable grammar comes from.
    """

    grammar: str | None = None
    lazy: bool = False
    param: str = "response_format"
    dialect: Dialect | None = None
    names: tuple[str, ...] = ()

    def unusable(self, reason: str) -> RequestError:
        """Make the error for a schema that gives no grammar."""
        return _unusable(self.param, "the schema" if self.param == "response_format" else "a schema", reason)


NO_FORM = Form()
"""That of plain text."""


def offered(request: GenerateRequest) -> tuple[Tool, ...]:
    """List the tools that the model is shown."""
    return () if request.tool_choice.mode == "none" else request.tools


def form_for(request: GenerateRequest, dialect: Dialect) -> Form:
    """Write the grammar of what a request allows as an answer.

    With tools and a response format, the answer is either calls or fits the format.

    Raises:
        RequestError: a JSON Schema is wrong, too large, or uses what a grammar cannot say.
    """
    rules = Rules()
    tools = offered(request)
    if not tools:
        format_only = _format(request.response_format, rules)
        return Form(format_only and rules.text(format_only))
    form = Form(param="tools", dialect=dialect, names=tuple(tool.name for tool in tools))
    arguments = _arguments(request, tools, rules)
    calls = dialect.grammar(rules, arguments, _most(request))
    if request.tool_choice.mode != "auto":
        return form._replace(grammar=rules.text(calls))
    if dialect.bare is not None:
        calls = f"{calls} | {dialect.bare.grammar(rules, arguments, 1)}"
    answer = _format(request.response_format, rules)
    if answer is None:
        return form._replace(grammar=rules.text(calls), lazy=True)
    return form._replace(grammar=rules.text(f"{calls} | {answer}"))


def _arguments(request: GenerateRequest, tools: Sequence[Tool], rules: Rules) -> list[tuple[str, str]]:
    wanted = request.tool_choice.name
    called = [tool for tool in tools if tool.name == wanted] if wanted else tools
    return [(tool.name, _parameters(tool, rules)) for tool in called]


def _parameters(tool: Tool, rules: Rules) -> str:
    schema = {**(tool.parameters or NO_PARAMETERS), "type": "object"}
    try:
        return SchemaRules(schema, rules, strict=bool(tool.strict)).rule()
    except GrammarError as error:
        raise _unusable("tools", f"the parameters of '{tool.name[:64]}'", str(error)) from error


def _most(request: GenerateRequest) -> int:
    single = request.parallel_tool_calls is False or request.tool_choice.mode == "named"
    return 1 if single else MOST_CALLS


def _format(response_format: ResponseFormat, rules: Rules) -> str | None:
    if response_format.type == "text":
        return None
    schema: Any = {"type": "object"} if response_format.type == "json_object" else response_format.schema
    try:
        return SchemaRules(
            {} if schema is None else schema, rules, strict=bool(response_format.strict)
        ).rule()
    except GrammarError as error:
        raise _unusable("response_format", "the schema", str(error)) from error


def _unusable(param: str, what: str, reason: str) -> RequestError:
    return RequestError(f"{param}: {what} cannot be made into a grammar: {reason}", param=param)
