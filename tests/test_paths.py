"""Several reasoning paths: in which order they run, when they stop, what they cost and what they tell."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
import structlog

from openkimi import (
    Backend,
    BackendError,
    BackendUnavailable,
    Candidate,
    Delta,
    Generate,
    GenerateRequest,
    KimiEngine,
    Message,
    OpenContext,
    Provider,
    RequestError,
    ResponseFormat,
    Synthesis,
    Synthesizer,
    Tool,
    Usage,
    hookimpl,
)
from openkimi.options import convert_options
from openkimi.path_receipt import MprReceipt
from openkimi.progress import Progress
from openkimi.receipt import Receipt
from openkimi.turn import Ask, PathOptions
from openkimi_scripted import ScriptedBackend, ScriptedOptions

FACT = "The lighthouse keeper of Skerryvore is called Orlando Finch."
FILLER = "The river flows through the plain and the boats go by. " * 60
BOOK = f"{FILLER}\n\n{FACT}\n\n{FILLER}"
QUESTION = "What is the lighthouse keeper called?"


class Varied(ScriptedBackend):
    """Answers each path by a script of its own, which the path's seed chooses: the first one has seed 0."""

    def __init__(self, *scripts: dict[str, Any], takes_turns: bool = False) -> None:
        shared = {"context_length": 1024}
        super().__init__(convert_options(shared, ScriptedOptions, where="held"))
        self.takes_turns = takes_turns
        self.paths = [
            ScriptedBackend(convert_options({**shared, **script}, ScriptedOptions, where="held"))
            for script in scripts
        ]

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.requests.append(request)
        deltas = self.paths[(request.seed or 0) % len(self.paths)].generate(request)
        try:
            async for delta in deltas:
                yield delta
        finally:
            await deltas.aclose()  # type: ignore[attr-defined]

    @property
    def running(self) -> int:
        return sum(path.active for path in self.paths)

    @property
    def broken_off(self) -> int:
        return sum(path.cancelled for path in self.paths)


class Chooser(Synthesizer):
    """Chooses the first candidate; says that the answer is clear after some of them."""

    def __init__(self, clear_after: int = 99, **told: Any) -> None:
        self.clear_after = clear_after
        self.told = told
        self.asked: list[int] = []

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        return Synthesis(answer=nothing(), **{"chosen": candidates[0].index, "agreement": 0.5, **self.told})

    def settled(self, question: str, candidates: Sequence[Candidate], paths: int) -> bool:
        self.asked.append(len(candidates))
        return len(candidates) >= self.clear_after


class Writer(Chooser):
    """Asks the model for one text out of all candidates."""

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        drafts = "\n".join(candidate.text for candidate in candidates)
        return Synthesis(answer=generate([Message(role="user", content=drafts)]))


class Saying(Chooser):
    """Yields fixed deltas, and fails after them if it is to."""

    def __init__(self, *deltas: Delta, error: Exception | None = None) -> None:
        super().__init__()
        self.deltas, self.error = deltas, error

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        async def answer() -> AsyncIterator[Delta]:
            for delta in self.deltas:
                yield delta
            if self.error is not None:
                raise self.error

        return Synthesis(answer=answer())


class Naming(Saying):
    """Says that the second candidate dissents from its fixed deltas."""

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        made = await super().synthesize(question, candidates, generate)
        return msgspec.structs.replace(made, dissenting=(1,))


async def nothing() -> AsyncIterator[Delta]:
    return
    yield


class Offering:
    """A plugin that offers a synthesizer under the kind ``held``."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.synthesizer = synthesizer

    @hookimpl
    def register_synthesizers(self) -> list[Provider[Any]]:
        @asynccontextmanager
        async def open_held(options: object, context: OpenContext) -> AsyncIterator[Any]:
            yield self.synthesizer

        return [Provider("held", open_held)]


class Outcome:
    """What an answer was made of."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.deltas = [event for event in events if isinstance(event, Delta)]
        self.progress = [event for event in events if isinstance(event, Progress)]
        self.receipt = [event for event in events if isinstance(event, Receipt)][-1]
        self.text = "".join(delta.content for delta in self.deltas)
        self.usage = self.deltas[-1].usage or Usage()

    @property
    def mpr(self) -> MprReceipt:
        [reasoned] = self.receipt.mpr
        return reasoned


@pytest.fixture
def engine_of(held: Any) -> Any:
    """Make an engine of a backend and a synthesizer, with options of the section ``mpr``."""

    def make(backend: Backend, synthesizer: Synthesizer, **mpr: Any) -> KimiEngine:
        plugin = held()
        plugin.backend = backend
        return KimiEngine(
            plugins=[plugin, Offering(synthesizer)],
            llm_config={"type": "held"},
            rag_config={"type": "held", "embedding_model": "held"},
            mpr_config={"synthesis": "held", **mpr},
        )

    return make


def about(paths: int = 3, text: str = BOOK, **changes: Any) -> Ask:
    messages = (Message(role="system", content=text), Message(role="user", content=QUESTION))
    ask = {name: changes.pop(name) for name in ("n", "mpr", "citations", "mode") if name in changes}
    request = GenerateRequest(messages=messages, **{"seed": 0, **changes})
    return Ask(request=request, mpr_candidates=paths, **ask)


async def outcome(engine: KimiEngine, ask: Ask) -> Outcome:
    async with engine:
        return Outcome([event async for event in engine.answer(ask)])


def replies(*texts: str, **options: Any) -> list[dict[str, Any]]:
    return [{"reply": text, **options} for text in texts]


# Order and stopping


async def test_paths_come_one_after_another_where_the_backend_takes_turns(engine_of: Any) -> None:
    """Elsewhere they run side by side."""
    for takes_turns, peak in ((True, 1), (False, 3)):
        backend = ScriptedBackend(ScriptedOptions(context_length=1024, reply="Finch."))
        backend.takes_turns = takes_turns

        result = await outcome(engine_of(backend, Chooser(), gate=False), about())

        assert (backend.peak, len(backend.requests)) == (peak, 3)
        assert (result.mpr.walked, result.mpr.stopped) == (3, None)


@pytest.mark.parametrize(
    ("takes_turns", "gate", "asked"),
    [(True, None, [1]), (False, None, []), (False, True, [1]), (True, False, [])],
)
async def test_the_gate_is_on_where_paths_take_turns_unless_told_otherwise(
    engine_of: Any, takes_turns: bool, gate: bool | None, asked: list[int]
) -> None:
    """A first answer that is clear is the only one; with the gate off nobody asks about it."""
    backend = Varied(*replies("Finch.", "Finch."), takes_turns=takes_turns)
    chooser = Chooser(clear_after=1)

    result = await outcome(engine_of(backend, chooser, gate=gate), about(2))

    assert chooser.asked == asked
    assert len(backend.requests) == (1 if asked else 2)
    assert (result.mpr.stopped, result.mpr.walked) == (("gate", 1) if asked else (None, 2))


async def test_a_request_may_switch_gate_and_early_stop_over(engine_of: Any) -> None:
    """What the request says counts more than the config."""
    backend, chooser = Varied(*replies("a", "a", "a"), takes_turns=True), Chooser(clear_after=1)
    ask = about(mpr=PathOptions(gate=False, early_stop=False))

    result = await outcome(engine_of(backend, chooser, gate=True), ask)

    assert (chooser.asked, result.mpr.walked, result.mpr.stopped) == ([], 3, None)


async def test_enough_agreement_breaks_off_what_runs(engine_of: Any) -> None:
    """Once the answer is clear the paths that still run are closed before the answer begins."""
    backend = Varied({"reply": "a"}, {"reply": "a"}, {"reply": "slow words", "token_delay": 60.0})
    chooser = Chooser(clear_after=2)
    async with engine_of(backend, chooser) as engine:
        async for event in engine.answer(about()):
            if isinstance(event, Delta):
                break
        assert backend.running == 0

    assert backend.broken_off == 1
    assert chooser.asked == [2]


async def test_what_was_broken_off_is_told_and_counted(engine_of: Any) -> None:
    """Its prompt counts, and what it had written; the receipt says that it has no answer."""
    soon = {"reply": "a b", "token_delay": 0.2}
    backend = Varied(soon, soon, {"reply": "slow words", "token_delay": 60.0})

    result = await outcome(engine_of(backend, Chooser(clear_after=2)), about())

    last = result.mpr.candidates[2]
    assert (result.mpr.stopped, result.mpr.planned, result.mpr.walked) == ("agreement", 3, 3)
    assert (last.answer, last.error is not None) == (None, True)
    assert last.usage.prompt_tokens == pytest.approx(result.mpr.candidates[0].usage.prompt_tokens, rel=0.3)
    assert last.usage.completion_tokens == 1


async def test_a_gate_on_side_by_side_lets_the_first_go_alone(engine_of: Any) -> None:
    """The others start together once the first has come and is not clear."""
    backend = ScriptedBackend(ScriptedOptions(context_length=1024, reply="a", token_delay=0.01))
    seen: list[int] = []

    class Watching(Chooser):
        def settled(self, question: str, candidates: Sequence[Candidate], paths: int) -> bool:
            seen.append(len(backend.requests))
            return False

    await outcome(engine_of(backend, Watching(), gate=True), about(4))

    assert seen[0] == 1
    assert backend.peak == 3


async def test_no_more_paths_run_than_the_backend_works_on(engine_of: Any) -> None:
    """Others would only wait in its line, and may not be needed."""
    backend = ScriptedBackend(ScriptedOptions(context_length=1024, reply="a", concurrency=2))

    await outcome(engine_of(backend, Chooser()), about(5))

    assert backend.peak == 2
    assert len(backend.requests) == 5


async def test_a_settled_that_raises_is_no(engine_of: Any) -> None:
    """The paths are walked on, and the log names the class, its plugin and no text."""

    class Broken(Chooser):
        def settled(self, question: str, candidates: Sequence[Candidate], paths: int) -> bool:
            raise ValueError(question)

    backend = Varied(*replies("a", "b", "c"), takes_turns=True)
    with structlog.testing.capture_logs() as logs:
        result = await outcome(engine_of(backend, Broken()), about())

    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert result.mpr.walked == 3
    assert {entry["event"] for entry in warnings} == {"plugin_raised", "not_settled"}
    assert all(
        "Broken.settled raised ValueError" in entry.get("what", entry.get("reason")) for entry in warnings
    )
    assert QUESTION not in str(warnings)


# Limits


async def test_after_the_timeout_what_has_come_is_taken(engine_of: Any) -> None:
    """The paths that take longer are closed."""
    backend = Varied({"reply": "quick"}, {"reply": "slow", "delay": 60.0})

    result = await outcome(engine_of(backend, Chooser(), timeout=0.1), about(2))

    assert (result.text, result.mpr.stopped) == ("quick", "timeout")
    assert (backend.running, backend.broken_off) == (0, 1)


@pytest.mark.parametrize("takes_turns", [True, False])
async def test_where_nothing_has_come_by_the_timeout_the_first_to_come_is_taken(
    engine_of: Any, takes_turns: bool
) -> None:
    """A limit to what more paths may take never leaves a request without an answer."""
    backend = Varied({"reply": "late", "delay": 0.2}, {"reply": "later", "delay": 60.0})
    backend.takes_turns = takes_turns

    result = await outcome(engine_of(backend, Chooser(), gate=False), about(2, mpr=PathOptions(timeout=0.01)))

    assert (result.text, result.mpr.stopped) == ("late", "timeout")


@pytest.mark.parametrize("takes_turns", [True, False])
async def test_no_path_starts_that_would_pass_the_ceiling(engine_of: Any, takes_turns: bool) -> None:
    """The estimate is the next prompt and what candidates wrote on average; the first is always walked."""
    backend = Varied(*replies(*["one two three"] * 5), takes_turns=takes_turns)
    whole = await outcome(
        engine_of(backend, Chooser(), gate=False, sampling="relevance"), about(5, max_tokens=5)
    )
    dear = max(path.usage.total_tokens for path in whole.mpr.candidates)

    for ceiling, walked in ((1, 1), (int(2.5 * dear), 2), (100_000, 5)):
        engine = engine_of(backend, Chooser(), gate=False, sampling="relevance", max_total_tokens=ceiling)
        result = await outcome(engine, about(5, max_tokens=5))

        assert result.mpr.walked == walked
        assert result.mpr.stopped == ("tokens" if walked < 5 else None)
        assert walked == 1 or result.usage.total_tokens <= ceiling


async def test_of_two_limits_the_smaller_one_holds(engine_of: Any) -> None:
    """A request can ask for less than the config allows, and not for more."""
    for configured, wanted in ((1, 100_000), (100_000, 1)):
        backend = Varied(*replies("a", "a"))
        engine = engine_of(backend, Chooser(), max_total_tokens=configured)
        result = await outcome(engine, about(2, mpr=PathOptions(max_total_tokens=wanted)))

        assert result.mpr.stopped == "tokens"


# Failures


async def test_a_path_that_fails_harms_no_answer(engine_of: Any) -> None:
    """The others make the answer; the failure stands in the receipt and the log, without a word of text."""
    backend = Varied({"fail_before": "secret words", "fail_kind": "timeout"}, *replies("Finch."))

    with structlog.testing.capture_logs() as logs:
        result = await outcome(engine_of(backend, Chooser()), about(2))

    failed = result.mpr.candidates[0]
    assert result.text == "Finch."
    assert (failed.index, failed.error, failed.answer) == (0, "the model took too long", None)
    assert failed.usage.prompt_tokens > 0
    assert "secret" not in str([entry for entry in logs if entry["log_level"] != "debug"])
    assert any(entry["event"] == "path_failed" for entry in logs)


async def test_a_path_whose_backend_breaks_unforeseen_harms_no_answer(engine_of: Any) -> None:
    """A plugin may raise anything."""

    class Broken(Varied):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            if not request.seed:
                raise ValueError("broken")
            async for delta in super().generate(request):
                yield delta

    result = await outcome(engine_of(Broken(*replies("", "Finch.")), Chooser()), about(2))

    assert (result.text, result.mpr.candidates[0].error) == ("Finch.", "an unforeseen failure")


async def test_a_path_whose_tokens_cannot_be_counted_harms_no_answer(engine_of: Any) -> None:
    """A backend that broke off may count nothing more: of that path only the prompt is told."""

    class Gone(Varied):
        gone = False

        async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            self.gone = bool(request.seed)
            if self.gone:
                raise BackendUnavailable("gone")
            async for delta in super().generate(request):
                yield delta

        async def count_tokens(self, texts: Sequence[str]) -> list[int]:
            if self.gone:
                raise BackendUnavailable("gone")
            return await super().count_tokens(texts)

    backend = Gone(*replies("Finch."), takes_turns=True)

    result = await outcome(engine_of(backend, Chooser()), about(2))

    failed = result.mpr.candidates[1]
    assert (result.text, failed.error) == ("Finch.", "the model was not available")
    assert failed.usage.prompt_tokens > 0
    assert failed.usage.completion_tokens == 0


@pytest.mark.parametrize("takes_turns", [True, False])
async def test_where_all_fail_one_error_says_so(engine_of: Any, takes_turns: bool) -> None:
    """It is the first path's, with its kind, and says that there were others."""
    scripts = [{"fail_before": name, "fail_kind": "unavailable"} for name in ("one", "two", "three")]

    with pytest.raises(BackendUnavailable) as raised:
        await outcome(engine_of(Varied(*scripts, takes_turns=takes_turns), Chooser()), about())

    assert raised.value.message == "all 3 reasoning paths failed; the first: one"


async def test_an_error_that_a_backend_raises_again_says_it_once(engine_of: Any) -> None:
    """A plugin may keep one error for all: what is added for one request is not there in the next."""
    backend = Varied(*replies("a", "b"), takes_turns=True)
    busy = BackendUnavailable("busy")

    async def refuse(request: GenerateRequest) -> AsyncIterator[Delta]:
        raise busy
        yield

    backend.generate = refuse  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(BackendUnavailable) as raised:
            await outcome(engine_of(backend, Chooser()), about(2))

    assert raised.value.message == "all 2 reasoning paths failed; the first: busy"


async def test_a_refused_request_names_its_field_still(engine_of: Any) -> None:
    """An error about the request keeps its parameter."""

    class Refusing(Varied):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            raise RequestError("'tools': no", param="tools")
            yield

    with pytest.raises(RequestError, match="'tools': no") as raised:
        await outcome(engine_of(Refusing({}), Chooser()), about())

    assert raised.value.param == "tools"


@pytest.mark.parametrize("takes_turns", [True, False])
async def test_a_client_that_leaves_closes_all_paths(engine_of: Any, takes_turns: bool) -> None:
    """No path runs on, and none starts."""
    backend = Varied(*replies("a b c", "a b c", "a b c", token_delay=0.01), takes_turns=takes_turns)
    async with engine_of(backend, Chooser()) as engine:
        events = engine.answer(about())

        async def read() -> None:
            async for _ in events:
                pass

        task = asyncio.create_task(read())
        while not backend.running:
            await asyncio.sleep(0.005)
        running = backend.running
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert running == (1 if takes_turns else 3)
        assert backend.running == 0
        assert backend.broken_off == running


class Raising(Chooser):
    """Fails before it has chosen."""

    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        raise ValueError(question)


@pytest.mark.parametrize(
    "synthesizer",
    [Raising(), Saying(), Saying(Delta(finish_reason="stop")), Saying(error=BackendError("no"))],
    ids=["raises", "yields nothing", "yields no text", "fails before its first word"],
)
async def test_a_synthesizer_that_fails_is_left_out(engine_of: Any, synthesizer: Synthesizer) -> None:
    """The answer is the first candidate, of which nothing is known; receipt and log say what failed."""
    with structlog.testing.capture_logs() as logs:
        result = await outcome(engine_of(Varied(*replies("a", "b")), synthesizer), about(2))

    assert (result.text, result.deltas[-1].finish_reason) == ("a", "stop")
    assert (result.mpr.chosen, result.mpr.agreement, result.mpr.supported) == (0, None, None)
    assert [path.agrees for path in result.mpr.candidates] == [None, None]
    [left_out] = result.receipt.degraded
    [warning] = [entry for entry in logs if entry["event"] == "stage_left_out"]
    assert left_out.stage == warning["stage"] == "synthesizer"
    assert warning["reason"] == ("BackendError" if left_out.reason == "no" else left_out.reason)


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ({"agreement": "high"}, (0, None, None)),
        ({"chosen": np.int64(1), "agreement": np.float32(0.5), "supported": np.bool_(True)}, (1, 0.5, True)),
        ({"dissenting": np.array([1]), "supported": np.bool_(False)}, (None, 0.5, False)),
        ({"dissenting": 1}, (0, None, None)),
    ],
    ids=["words", "numpy", "declined", "a number"],
)
async def test_what_a_synthesizer_tells_is_plain_or_left_out(
    engine_of: Any, told: dict[str, Any], known: tuple[Any, ...]
) -> None:
    """A number of another library is taken for what it is; what is none makes it a synthesizer that fails."""
    result = await outcome(engine_of(Varied(*replies("a b", "b c")), Chooser(**told)), about(2))

    assert (result.mpr.chosen, result.mpr.agreement, result.mpr.supported) == known
    msgspec.json.encode(result.receipt)


async def test_an_answer_counts_its_usage_once_wherever_it_tells_it(engine_of: Any) -> None:
    """Usage that comes before the end is part of what the last delta tells."""
    early = Saying(Delta(content="a b"), Delta(usage=Usage(completion_tokens=7)), Delta(finish_reason="stop"))

    result = await outcome(engine_of(Varied(*replies("a b", "b c")), early), about(2))

    assert [delta.usage is None for delta in result.deltas] == [True, True, False]


async def test_whether_others_agree_with_a_new_text_is_not_known(engine_of: Any) -> None:
    """A synthesizer that writes has not compared them with it, unless it names some that dissent."""
    writing = await outcome(engine_of(Varied(*replies("a b", "b c")), Writer()), about(2))
    naming = await outcome(
        engine_of(Varied(*replies("a b", "b c")), Naming(Delta(content="a"), Delta(finish_reason="stop"))),
        about(2),
    )

    assert [path.agrees for path in writing.mpr.candidates] == [None, None]
    assert [path.agrees for path in naming.mpr.candidates] == [True, False]


async def test_an_answer_without_an_end_is_ended(engine_of: Any) -> None:
    """A finish reason always comes."""
    result = await outcome(engine_of(Varied(*replies("a", "b")), Saying(Delta(content="hm"))), about(2))

    assert (result.text, result.deltas[-1].finish_reason) == ("hm", "stop")


async def test_an_answer_that_breaks_off_is_an_error(engine_of: Any) -> None:
    """What is streamed already cannot be taken back, and half of it is no answer."""
    synthesizer = Saying(Delta(content="hm"), error=ValueError("broken"))

    with pytest.raises(BackendError, match="the synthesizer 'held' failed in the middle"):
        await outcome(engine_of(Varied(*replies("a", "b")), synthesizer), about(2))


# Tools and forms


@pytest.mark.parametrize(
    "changes",
    [
        {"response_format": ResponseFormat(type="json_object")},
        {"response_format": ResponseFormat(type="json_schema", name="x", schema={"type": "object"})},
        {"tools": (Tool(name="find", parameters={"type": "object"}),)},
    ],
    ids=["json_object", "json_schema", "tools"],
)
@pytest.mark.parametrize("synthesizer", [Writer(), Saying(Delta(content="merged", finish_reason="stop"))])
async def test_an_answer_with_a_form_is_chosen_never_rewritten(
    engine_of: Any, synthesizer: Synthesizer, changes: dict[str, Any]
) -> None:
    """A synthesizer that would rewrite it is left out, and the model is not asked again."""
    backend = Varied({"tool_calls": [{"name": "find"}]}, {"tool_calls": [{"name": "find"}]})

    result = await outcome(engine_of(backend, synthesizer), about(2, **changes))

    assert len(backend.requests) == 2
    assert result.mpr.chosen == 0
    assert "merged" not in result.text
    first = result.mpr.candidates[0]
    assert [call.name for call in first.tool_calls] == (["find"] if "tools" in changes else [])
    assert (first.answer is None) == ("tools" in changes)


async def test_a_rewrite_has_no_tools(engine_of: Any) -> None:
    """Tools that are not to be called stay out of the request for one text."""
    from openkimi import ToolChoice

    backend = Varied(*replies("a", "b"))
    tools = (Tool(name="find", parameters={"type": "object"}),)

    await outcome(engine_of(backend, Writer()), about(2, tools=tools, tool_choice=ToolChoice(mode="none")))

    assert [len(request.tools) for request in backend.requests] == [1, 1, 0]


# What is told


async def test_the_receipt_tells_of_each_path(engine_of: Any) -> None:
    """Its answer, whether that is the answer's, and where in the caller's own text it stands."""
    backend = Varied(*replies("He is called Orlando Finch.", "He is called Winston Grebe."))

    result = await outcome(engine_of(backend, Chooser(dissenting=(1,), supported=True)), about(2))

    first, second = result.mpr.candidates
    assert (result.mpr.chosen, result.mpr.agreement, result.receipt.agreement) == (0, 0.5, 0.5)
    assert (first.answer, first.agrees, first.support) == ("He is called Orlando Finch.", True, 1.0)
    assert (second.agrees, second.support, second.supported_by) == (False, 0.0, ())
    [quote] = first.supported_by
    assert (quote.message, quote.quote) == (0, BOOK[quote.start : quote.end])
    assert "Orlando Finch" in quote.quote
    assert first.finish_reason == "stop"
    assert first.usage.completion_tokens == backend.paths[0].finished * 10


async def test_without_citations_the_receipt_has_no_quotes(engine_of: Any) -> None:
    """How much is supported is told all the same."""
    backend = Varied(*replies("He is called Orlando Finch.", "He is called Orlando Finch."))

    result = await outcome(engine_of(backend, Chooser()), about(2, citations=False))

    assert [(path.support, path.supported_by) for path in result.mpr.candidates] == [(1.0, ())] * 2


async def test_without_passages_support_is_not_known(engine_of: Any) -> None:
    """A prompt that went on unchanged has none."""
    result = await outcome(engine_of(Varied(*replies("a", "b")), Chooser()), about(2, text="Be brief."))

    assert [path.support for path in result.mpr.candidates] == [None, None]


async def test_receipts_of_paths_that_fail_harm_no_answer(
    engine_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes whole, and its receipt goes without them."""

    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("openkimi.reasoning.receipts_of", broken)
    result = await outcome(engine_of(Varied(*replies("a", "b")), Chooser()), about(2))

    assert (result.text, result.mpr.walked, result.mpr.candidates) == ("a", 2, ())


async def test_progress_is_told_after_each_path(engine_of: Any) -> None:
    """It is the model's work, and says what it has used."""
    backend = Varied(*replies("a", "b", "c"), takes_turns=True)

    result = await outcome(engine_of(backend, Chooser()), about())

    told = [progress for progress in result.progress if progress.stage == "reasoning"]
    assert [progress.text for progress in told] == [f"reasoning {at}/3 paths" for at in (1, 2, 3)]
    assert all(progress.by_model and progress.spent for progress in told)


async def test_drafts_are_told_as_reasoning(engine_of: Any) -> None:
    """On request each candidate comes under its number as soon as it is there, before the answer."""
    backend = Varied(*replies("Finch.", "Grebe."), takes_turns=True)

    quiet = await outcome(engine_of(backend, Chooser()), about(2))
    result = await outcome(engine_of(backend, Chooser()), about(2, mpr=PathOptions(drafts=True)))

    assert [delta.reasoning for delta in result.deltas if delta.reasoning] == [
        "[1] Finch.\n\n",
        "[2] Grebe.\n\n",
    ]
    assert result.text == "Finch."
    assert not any(delta.reasoning for delta in quiet.deltas)


async def test_usage_counts_all_paths_and_what_is_not_shown_as_reasoning(engine_of: Any) -> None:
    """Of three answers two are not shown; completion tokens include these."""
    backend = Varied(*replies("one", "one two", "one two three"))

    result = await outcome(engine_of(backend, Chooser()), about())

    used = [path.usage for path in result.mpr.candidates]
    assert result.usage.prompt_tokens == sum(usage.prompt_tokens for usage in used)
    assert result.usage.completion_tokens == 1 + 3 + 5
    assert result.usage.reasoning_tokens == 3 + 5
    assert result.mpr.usage.total_tokens == result.usage.total_tokens


async def test_a_synthesis_counts_what_it_asks_the_model(engine_of: Any) -> None:
    """Its prompt and its text count, and the text is what is shown."""
    backend = Varied(*replies("one", "one two"))

    result = await outcome(engine_of(backend, Writer()), about(2))

    prompts = [await backend.count_prompt(request) for request in backend.requests]
    assert len(prompts) == 3
    assert result.mpr.chosen is None
    assert result.usage.prompt_tokens == sum(prompts)
    assert (result.usage.completion_tokens, result.usage.reasoning_tokens) == (1 + 3 + 1, 1 + 3)


async def test_several_answers_are_reasoned_apart(engine_of: Any) -> None:
    """With `n` each has paths, progress and an entry in the receipt of its own."""
    backend = Varied(*replies("a", "b"))

    result = await outcome(engine_of(backend, Chooser()), about(2, n=2))

    prompts = [await backend.count_prompt(request) for request in backend.requests]
    used = [delta.usage for delta in result.deltas if delta.usage]
    assert len(prompts) == 4
    assert sum(usage.prompt_tokens for usage in used) == sum(prompts) // 2
    assert sum(usage.completion_tokens for usage in used) == 4
    assert [reasoned.choice for reasoned in result.receipt.mpr] == [0, 1]
    assert {delta.index for delta in result.deltas} == {0, 1}
    told = {progress.text for progress in result.progress if progress.stage == "reasoning"}
    assert told == {f"reasoning {done}/2 paths of answer {answer}" for done in (1, 2) for answer in (1, 2)}


def test_a_receipt_of_some_answers_has_their_paths_only() -> None:
    """They are renumbered as they are shown."""
    entries = tuple(MprReceipt(choice=at, planned=2, walked=2, agreement=at / 10) for at in range(3))
    receipt = Receipt(compressed=False, window=1, prompt_tokens=1).reasoning(entries)

    shown = receipt.of_choices({2: 0, 1: 1})

    assert receipt.agreement == 0.0
    assert [(entry.choice, entry.agreement) for entry in shown.mpr] == [(0, 0.2), (1, 0.1)]
    assert shown.agreement == 0.2


class Held:
    """An answer that keeps something until it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "told", [{"chosen": 0}, {"chosen": None, "supported": False}], ids=["chosen", "declined"]
)
async def test_an_answer_that_is_not_read_is_closed_before_another_one_begins(
    engine_of: Any, told: dict[str, Any]
) -> None:
    """What a synthesizer holds for it, and what it asked the model and left, is free at once."""
    backend, held = Varied(*replies("a b", "b c"), takes_turns=True), Held()

    class Holding(Chooser):
        async def synthesize(
            self, question: str, candidates: Sequence[Candidate], generate: Generate
        ) -> Synthesis:
            self.left = generate([Message(role="user", content="Which?")])
            await anext(self.left)
            return Synthesis(answer=held, **self.told)  # type: ignore[arg-type]

    async with engine_of(backend, Holding(**told)) as engine:
        async for event in engine.answer(about(2)):
            if isinstance(event, Delta):
                break
        assert (held.closed, backend.running, backend.broken_off) == (1, 0, 1)


# Honest answers


async def test_an_unsupported_answer_is_declined_unless_it_is_wanted_all_the_same(engine_of: Any) -> None:
    """One sentence takes its place; the receipt keeps the candidates, and what they cost is told."""
    backend = Varied(*replies("Grebe.", "Loon."))
    synthesizer = Chooser(supported=False)

    given = await outcome(engine_of(backend, synthesizer, on_unsupported="answer"), about(2))
    declined = await outcome(engine_of(backend, synthesizer), about(2))

    assert (given.text, given.mpr.declined, given.mpr.supported) == ("Grebe.", False, False)
    assert (declined.text, declined.deltas[-1].finish_reason) == ("The document does not say.", "stop")
    assert (declined.mpr.declined, declined.mpr.chosen) == (True, None)
    assert [path.answer for path in declined.mpr.candidates] == ["Grebe.", "Loon."]
    assert [path.agrees for path in declined.mpr.candidates] == [None, None]
    assert (declined.receipt.citations, declined.receipt.unsupported) == ((), ())
    assert declined.usage.reasoning_tokens == declined.usage.completion_tokens == 4


async def test_declining_speaks_the_language_of_the_question(engine_of: Any) -> None:
    """Or the operator's own words."""
    ask = about(2, mpr=PathOptions(on_unsupported="decline"))
    messages = (ask.request.messages[0], Message(role="user", content="灯塔管理员叫什么名字？"))
    chinese = Ask(
        request=GenerateRequest(messages=messages, seed=0),
        mpr_candidates=2,
        mpr=PathOptions(on_unsupported="decline"),
    )
    backend, synthesizer = Varied(*replies("a", "b")), Chooser(supported=False)

    in_chinese = await outcome(engine_of(backend, synthesizer), chinese)
    own = await outcome(engine_of(backend, synthesizer, declining="Not there."), ask)

    assert (in_chinese.text, own.text) == ("文档中没有提到。", "Not there.")


@pytest.mark.parametrize(
    "ask",
    [
        about(2, text="Be brief."),
        about(2, mode="whole"),
        about(2, response_format=ResponseFormat(type="json_object")),
        about(2, tools=(Tool(name="find", parameters={"type": "object"}),)),
    ],
    ids=["no passages", "a summary", "json", "tools"],
)
async def test_what_is_no_question_to_a_text_is_never_declined(engine_of: Any, ask: Ask) -> None:
    """There is nothing that the document could have said, or the answer must have a form."""
    engine = engine_of(Varied(*replies("a", "b")), Chooser(supported=False), on_unsupported="decline")

    result = await outcome(engine, ask)

    assert (result.text, result.mpr.declined) == ("a", False)
