import openkimi_shout
from click.testing import CliRunner

from openkimi import GenerateRequest, Message
from openkimi.testing import open_component
from openkimi.testing.contracts import BackendContract

(SHOUT,) = openkimi_shout.register_backends()


class TestShout(BackendContract):
    """The backend keeps what every backend promises."""

    provider = SHOUT


def asked(question: str, max_tokens: int = 100) -> GenerateRequest:
    return GenerateRequest(messages=(Message(role="user", content=question),), max_tokens=max_tokens)


async def test_the_answer_is_the_question_in_capitals_word_by_word() -> None:
    """An answer is streamed a word at a time and ends with why it stopped and what it cost."""
    async with open_component(SHOUT, suffix="?!") as backend:
        deltas = [delta async for delta in backend.generate(asked("who is there"))]

    assert [delta.content for delta in deltas] == ["WHO", " IS", " THERE?!", ""]
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 3


async def test_an_answer_ends_at_max_tokens() -> None:
    """No more words are said than were asked for, and the reason tells so."""
    async with open_component(SHOUT) as backend:
        deltas = [delta async for delta in backend.generate(asked("one two three", max_tokens=2))]

    assert "".join(delta.content for delta in deltas) == "ONE TWO"
    assert deltas[-1].finish_reason == "length"


def test_the_command_says_the_words_in_capitals() -> None:
    """The command that is offered to openkimi works by itself."""
    (command,) = openkimi_shout.register_commands()

    assert CliRunner().invoke(command, ["who", "is", "there"]).output == "WHO IS THERE!\n"
