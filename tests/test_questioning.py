"""Questions are told from other requests, in English and Chinese."""

import pytest

from openkimi.questioning import is_question


@pytest.mark.parametrize(
    "text",
    [
        "Who laid it?",
        "and in which year was it built",
        "Was it built in 1882",
        "how many arches has it",
        "The bridge at Arles: built when?",
        "桥是谁建的",
        "它有几个桥拱？",
        "共有几个桥拱",
        "是否建于1882年",
    ],
)
def test_what_a_text_may_state_is_a_question(text: str) -> None:
    """With or without its mark, after what joins it to the one before."""
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "Write a poem about it.",
        "Suggest a title",
        "It was good. Go on.",
        "Whatever",
        "给它起个标题",
        "给这几段起几个标题",
        "用几个词形容它",
        "",
    ],
)
def test_what_no_text_could_state_is_none(text: str) -> None:
    """A request to write something is none."""
    assert not is_question(text)
