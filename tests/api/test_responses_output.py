"""The output items that deltas of any order make."""

import itertools

import pytest

from openkimi import BackendError, Delta, TokenLogprob, ToolCallDelta
from openkimi.api.responses_events import Event, OutputItemAdded
from openkimi.api.responses_output import Output
from openkimi.api.responses_schemas import FunctionCallItem, MessageItem, ReasoningItem


def a_call(index: int, arguments: str, name: str | None = None) -> Delta:
    return Delta(tool_calls=(ToolCallDelta(index=index, name=name, arguments=arguments),))


def written(*deltas: Delta) -> tuple[Output, list[Event]]:
    """Return the output of an answer, and its events."""
    output = Output(itertools.count())
    events = [event for delta in deltas for event in output.add(delta)]
    return output, [*events, *output.end()]


def test_what_comes_in_turns_becomes_items_in_turns() -> None:
    """A model that thinks, speaks, calls, thinks and speaks again makes five items."""
    output, events = written(
        Delta(reasoning="Hm."),
        Delta(content="Let me "),
        Delta(content="look."),
        a_call(0, "{", "look_up"),
        a_call(0, "}"),
        Delta(reasoning="So."),
        Delta(content="Here."),
    )

    assert [type(item) for item in output.items] == [
        ReasoningItem,
        MessageItem,
        FunctionCallItem,
        ReasoningItem,
        MessageItem,
    ]
    assert {item.status for item in output.items} == {"completed"}
    added = [event.output_index for event in events if isinstance(event, OutputItemAdded)]
    assert added == [0, 1, 2, 3, 4]
    assert len({item.id for item in output.items}) == 5


def test_a_call_without_an_id_gets_one() -> None:
    """The output of a function has to name the call that it answers."""
    output, _ = written(a_call(0, "{}", "look_up"), a_call(1, "{}", "look_up"))

    assert len({getattr(item, "call_id", None) for item in output.items}) == 2


def test_a_call_that_goes_on_after_its_end_is_a_failure() -> None:
    """Arguments that no event can tell any more are not lost in silence."""
    with pytest.raises(BackendError, match="had ended"):
        written(a_call(0, "{", "look_up"), a_call(1, "{}", "look_up"), a_call(0, "}"))


def test_only_the_item_that_was_cut_is_incomplete() -> None:
    """A limit ends the last item; those before it are whole."""
    output, _ = written(Delta(reasoning="Hm."), Delta(content="One"), Delta(finish_reason="length"))

    assert [item.status for item in output.items] == ["completed", "incomplete"]


def test_a_limit_within_the_reasoning_leaves_no_message() -> None:
    """There is no answer then, and none is made up."""
    output, _ = written(Delta(reasoning="Hm"), Delta(finish_reason="length"))

    assert [type(item) for item in output.items] == [ReasoningItem]


def test_a_token_that_shows_nothing_yet_keeps_its_logprob() -> None:
    """Half a character has no text, and still counts among the tokens of the text."""
    half, rest = TokenLogprob(token="", logprob=-1.0, bytes=[228]), TokenLogprob(token="x", logprob=-2.0)
    output, _ = written(Delta(logprobs=(half,)), Delta(content="x", logprobs=(rest,)))

    [item] = output.items
    assert isinstance(item, MessageItem)
    assert [token.logprob for token in item.content[0].logprobs] == [-1.0, -2.0]
