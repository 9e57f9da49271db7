"""Follow-up questions: searched with what they follow, and a new topic with nothing of the old one."""

from typing import Any

import pytest

from openkimi import Chunk, GenerateRequest, KimiEngine, Message
from openkimi.documents import Hit
from openkimi.finding import fuse, take_turns
from openkimi.following import asked_in, follows_up
from openkimi.turn import Ask


def conversation(*texts: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[at % 2], content=text) for at, text in enumerate(texts)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "question",
    [
        "And the second one?",
        "Why?",
        "When did he die?",
        "Where are its profiles stored?",
        "What about Windows?",
        "Does installing it change anything?",
        "Windows?",
        "Since which release is that the default?",
        "Tell me more.",
        "Which ones?",
        "Shorter.",
        "In German, please.",
        "短一点",
        "那第二个呢？",
        "为什么？",
        "他是哪年去世的？",
        "它多久运行一次？",
        "那配置由哪个包提供呢？",
        "这些信息有什么用处？",
        "第三个是什么？",
        "还有呢？",
    ],
)
def test_a_question_that_leans_on_another_is_one(question: str) -> None:
    """Openings, pronouns without a noun and fragments lean on what was said."""
    assert follows_up(question)


@pytest.mark.parametrize(
    "question",
    [
        "Which daemon can be used to provide file servers to macOS machines?",
        "Who wrote Hamlet?",
        "Which company hosts the SELinux reference policy project?",
        "How does APT verify its packages?",
        "Why was the treaty of Lisbon signed?",
        "How many days must a package normally sit in Unstable before it may move to Testing?",
        "What is the statutory limit on the public debt?",
        "Compare Postfix and Exim.",
        "LXC 的正式名称是什么？",
        "Postgrey 的白名单存储在哪个文件中？",
        "使用第 4 版 NFS 时只需要开放哪两个端口？",
        "系统管理员还应当做些什么准备工作？",
        "其他发行版用什么格式打包？",
    ],
)
def test_a_question_that_stands_by_itself_is_none(question: str) -> None:
    """A new topic is searched as if nothing had been said before."""
    messages = conversation("Who founded Debian?", "Ian Murdock did.", question)

    assert not follows_up(question)
    assert asked_in(messages).searches == (question,)


def test_a_follow_up_is_searched_with_what_was_asked_and_with_what_was_answered() -> None:
    """Both may name what it is about."""
    asked = asked_in(conversation("Who was the first leader?", "Ian Murdock.", "And the second one?"))

    assert asked.last == "And the second one?"
    assert asked.question == "Who was the first leader?\nAnd the second one?"
    assert asked.searches == (asked.question, "Ian Murdock.\nAnd the second one?")


def test_a_chain_of_follow_ups_goes_back_to_the_question_that_stands() -> None:
    """The third question in a row still knows what it is about."""
    messages = conversation(
        "Which mail server was chosen?", "Postfix.", "Why?", "It is reliable.", "And what else?"
    )

    assert asked_in(messages).question == "Which mail server was chosen?\nWhy?\nAnd what else?"


@pytest.mark.parametrize(
    "form",
    [
        "More details, please.",
        "Make it longer.",
        "Shorter.",
        "That's too long.",
        "In German please",
        "As a table, please.",
        "In 100 words.",
        "Tell me more.",
        "Go on.",
        "再详细一点",
        "短一点",
        "用三句话",
        "翻译成英文",
        "继续",
    ],
)
def test_another_form_of_an_answer_answers_the_same_question(form: str) -> None:
    """Who wants a summary shorter, or in German, still wants a summary."""
    asked = asked_in(conversation("Summarise this document.", "It is about ships.", form))
    twice = asked_in(conversation("Summarise this document.", "Ships.", "Longer!", "Big ships.", form))

    assert asked.last == twice.last == "Summarise this document."
    assert asked.question == f"Summarise this document.\n{form}"


@pytest.mark.parametrize(
    "question",
    [
        "Why?",
        "How long is it?",
        "Is it short?",
        "Which words?",
        "Is it in English?",
        "German?",
        "Tell me more about housing.",
        "And the second one?",
        "多长？",
        "多少字？",
        "详细说说住房",
        "中文版在哪里？",
        "Give me a short summary.",
        "List all ships.",
    ],
)
def test_what_names_a_thing_asks_for_more_than_another_form(question: str) -> None:
    """What has an answer of its own is a question of its own, however short."""
    assert asked_in(conversation("List all laws.", "There are two.", question)).last == question


def test_a_request_for_the_whole_is_no_context_to_search_with() -> None:
    """What follows a summary is searched without the words that asked for it."""
    text = asked_in(conversation("Summarise this text.", "Ships.", "What does it say about housing?"))
    person = asked_in(
        conversation("Summarise this text.", "By Nansen.", "Shorter.", "Nansen.", "Is he alive?")
    )

    assert text.searches == ("What does it say about housing?",)
    assert person.searches == ("Is he alive?", "Nansen.\nIs he alive?")


def test_long_answers_before_do_not_drown_the_question() -> None:
    """Of an answer its beginning is searched with."""
    asked = asked_in(conversation("Who?", "Ian Murdock. " * 500, "And then?"))

    assert len(asked.searches[1]) < 300


async def test_a_follow_up_finds_what_its_own_words_do_not(held: Any) -> None:
    """'When?' alone finds nothing; with what was said before it finds the date."""
    plugin = held(context_length=4096)
    town = "\n\n".join(
        f"House {number} stands on a hill and has {number % 7} doors." for number in range(900)
    )
    town += "\n\nThe Kauppi bridge opens on 4 July 1946.\n\n"
    messages = (
        Message(role="system", content=town),
        *conversation("Which bridge does Ilmari build?", "The Kauppi bridge.", "When?"),
    )
    engine = KimiEngine(
        plugins=[plugin],
        llm_config={"type": "held"},
        rag_config={"type": "held", "embedding_model": "held", "max_context_tokens": 400},
    )

    async with engine:
        async for _ in engine.answer(Ask(request=GenerateRequest(messages=messages))):
            pass

    assert "4 July 1946" in plugin.backend.requests[-1].messages[0].text


def hit(name: str) -> Hit:
    chunk = Chunk(key=name, text=name, start=ord(name), end=ord(name) + 1, ordinal=ord(name))
    return Hit(document_id="doc", chunk=chunk, score=0.0)


def names(hits: list[Hit]) -> str:
    return "".join(hit.chunk.text for hit in hits)


def test_rankings_are_fused_by_rank() -> None:
    """What two searches agree on comes before what one of them found."""
    one, other = [hit(name) for name in "abc"], [hit(name) for name in "dbe"]

    assert names(fuse([one, other])).startswith("b")
    assert names(fuse([one])) == "abc"


def test_rankings_take_turns() -> None:
    """Each side of a comparison has its best passage among the first."""
    assert names(take_turns([[hit("a"), hit("b")], [hit("c")], [hit("b"), hit("d")]])) == "acbd"
