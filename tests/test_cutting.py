"""Cutting: documents are told from instructions and from the question."""

import pytest

from openkimi import Document
from openkimi.cutting import cut_long_messages
from openkimi.messages import GenerateRequest, ImagePart, Message, TextPart, ToolCall
from openkimi.turn import Ask, Turn

BOOK = "\n\n".join(
    f"Paragraph {number} tells of ships and of the sea, at some length." for number in range(200)
)


def ask(*messages: Message) -> Ask:
    return Ask(request=GenerateRequest(messages=messages))


def larger_than(characters: int):  # type: ignore[no-untyped-def]
    async def overflows(turn: Turn) -> bool:
        return sum(len(message.text) for message in turn.skeleton().messages) > characters

    return overflows


async def test_a_book_in_the_system_message_becomes_a_document() -> None:
    """Its first paragraph stays, the question stays, the rest can be searched."""
    asked = ask(
        Message(role="system", content=f"You are a librarian. Answer from the book.\n\n{BOOK}"),
        Message(role="user", content="What do the ships do?"),
    )

    turn = await cut_long_messages(asked, (), larger_than(1000))

    assert [document.text for document in turn.documents] == [BOOK]
    assert turn.question == "What do the ships do?"
    assert [message.text for message in turn.skeleton().messages] == [
        "You are a librarian. Answer from the book.",
        "What do the ships do?",
    ]


async def test_offsets_lead_back_into_the_callers_text() -> None:
    """A place says in which message a document stood, and from where on."""
    text = f"You answer questions.\n\n{BOOK}"
    turn = await cut_long_messages(
        ask(Message(role="system", content=text), Message(role="user", content="And?")), (), larger_than(1000)
    )

    [document], [place] = turn.documents, turn.places
    assert (place.document, place.message) == (document.id, 0)
    assert text[place.offset : place.offset + len(document.text)] == document.text


@pytest.mark.parametrize(
    "text",
    [
        f"{BOOK}\n\nWhich port is named last?",
        f"Which port is named last?\n\n{BOOK}",
        f"{BOOK} Which port is named last?",
    ],
)
async def test_a_question_around_a_pasted_text_stays(text: str) -> None:
    """In one long user message the question is found before or behind the text."""
    turn = await cut_long_messages(ask(Message(role="user", content=text)), (), larger_than(1500))

    assert "Which port is named last?" in turn.question
    assert len(turn.question) < 1000
    assert len(turn.documents) == 1


@pytest.mark.parametrize(
    ("head", "tail", "question"),
    [
        ("[Released January 21, 1946]", "Which dam is built?", "Which dam is built?"),
        ("On Ships", "Summarise this text.", "Summarise this text."),
        ("关于船", "总结一下", "总结一下"),
        (
            "Answer the question below.",
            "Which dam is built?",
            "Answer the question below.\n\nWhich dam is built?",
        ),
        ("Which dam is built?", "The end of the ships.", "Which dam is built?\n\nThe end of the ships."),
    ],
)
async def test_the_first_line_of_a_text_is_no_part_of_the_question(
    head: str, tail: str, question: str
) -> None:
    """Where the end of a message asks and its beginning does not, the end alone is searched for."""
    asked = ask(Message(role="user", content=f"{head}\n\n{BOOK}\n\n{tail}"))

    turn = await cut_long_messages(asked, (), larger_than(1500))

    assert turn.question == turn.last == question
    assert head in turn.skeleton().messages[0].text


async def test_a_turn_knows_which_documents_came_with_the_question() -> None:
    """Of two texts the second is the one asked about, still so where its summary is to be shorter."""
    second = BOOK.replace("ships", "trains")
    said = (
        Message(role="user", content=f"{BOOK}\n\nSummarise this."),
        Message(role="assistant", content="Ships."),
        Message(role="user", content=f"{second}\n\nSummarise this text."),
    )
    later = (Message(role="assistant", content="Trains."), Message(role="user", content="Shorter, please."))

    for messages in (said, (*said, *later)):
        turn = await cut_long_messages(ask(*messages), (), larger_than(1500))
        [own] = turn.with_question
        assert "trains" in next(document.text for document in turn.documents if document.id == own)


@pytest.mark.parametrize(
    "text",
    [
        f"{BOOK}\n\nSummarise this text.",
        f"{BOOK}\n\n总结一下",
        f"{BOOK} Which port is named last?",
    ],
)
async def test_what_was_asked_before_is_no_part_of_the_document(text: str) -> None:
    """A text with a question is the same document in the next turn, and the question is still known."""
    first = ask(Message(role="user", content=text))
    then = ask(
        *first.request.messages,
        Message(role="assistant", content="Turku."),
        Message(role="user", content="Shorter."),
    )

    one, two = [await cut_long_messages(asked, (), larger_than(1500)) for asked in (first, then)]

    assert one.documents == two.documents
    assert one.last == two.last


async def test_only_as_much_is_cut_as_is_needed() -> None:
    """The longest message goes first, and shorter ones stay whole when that is enough."""
    short = BOOK[:1500]
    asked = ask(
        Message(role="system", content=short),
        Message(role="user", content=BOOK),
        Message(role="user", content="What now?"),
    )

    turn = await cut_long_messages(asked, (), larger_than(3000))

    assert turn.skeleton().messages[0].text == short
    assert len(turn.documents) == 1


async def test_old_turns_of_a_long_conversation_become_a_document() -> None:
    """When every message is short, the oldest exchanges are remembered and the last one stays."""
    exchanges = [
        message
        for number in range(100)
        for message in (
            Message(role="user", content=f"What is the name of ship {number}?"),
            Message(role="assistant", content=f"Ship {number} is called Number {number}."),
        )
    ]
    asked = ask(
        Message(role="system", content="Be brief."),
        *exchanges,
        Message(role="user", content="And of ship 7?"),
    )

    turn = await cut_long_messages(asked, (), larger_than(1000))

    messages = turn.skeleton().messages
    assert messages[0].text == "Be brief."
    assert messages[-1].text == "And of ship 7?"
    assert "assistant: Ship 7 is called Number 7." in turn.documents[0].text
    assert turn.searches[0] == "What is the name of ship 99?\nAnd of ship 7?"
    assert sum(len(message.text) for message in messages) <= 1000


async def test_tool_calls_are_never_parted_from_their_results() -> None:
    """Folding keeps whole exchanges, so that no tool message stands without its call."""
    exchanges = [
        message
        for number in range(50)
        for message in (
            Message(role="user", content=f"Look up {number}, please, and tell me about it."),
            Message(role="assistant", tool_calls=(ToolCall(id=f"c{number}", name="look", arguments="{}"),)),
            Message(role="tool", content=f"Number {number}.", tool_call_id=f"c{number}"),
        )
    ]

    turn = await cut_long_messages(ask(*exchanges), (), larger_than(500))

    messages = turn.skeleton().messages
    called = {call.id for message in messages for call in message.tool_calls}
    assert {message.tool_call_id for message in messages if message.role == "tool"} <= called


async def test_an_image_stays_beside_a_cut_text() -> None:
    """Only text is cut out of a message with parts."""
    image = ImagePart(url="data:image/png;base64,AA==")
    asked = ask(Message(role="user", content=(TextPart(text=f"{BOOK}\n\nWhat is this?"), image)))

    turn = await cut_long_messages(asked, (), larger_than(1000))

    [message] = turn.skeleton().messages
    assert image in message.content
    assert "What is this?" in message.text


async def test_stored_documents_find_a_place_without_changing_other_messages() -> None:
    """Passages of a stored document come behind the instructions, or in a system message of their own."""
    turn = await cut_long_messages(ask(Message(role="user", content="Hello")), ("doc_1",), larger_than(1000))

    assert turn.with_passages({0: "A passage."}).messages[0] == Message(role="system", content="A passage.")
    assert turn.skeleton().messages == (Message(role="user", content="Hello"),)


async def test_folding_loses_nothing_of_what_was_said() -> None:
    """What stood around a long paste, and what tools were called with, is in the transcript."""
    asked = ask(
        Message(role="user", content=f"My dog is named Rex.\n\n{BOOK}\n\nWhat is your view on this?"),
        Message(
            role="assistant",
            content="Let me see.",
            tool_calls=(ToolCall(id="1", name="look", arguments='{"where": "harbour"}'),),
        ),
        Message(role="tool", content="Nothing there.", tool_call_id="1"),
        *[Message(role="user", content=f"Tell me more of number {number}, please.") for number in range(60)],
    )

    turn = await cut_long_messages(asked, (), larger_than(600))

    kept = "\n".join(
        [document.text for document in turn.documents] + [m.text for m in turn.skeleton().messages]
    )
    for said in ("My dog is named Rex.", "What is your view", 'look({"where": "harbour"})', "Nothing there."):
        assert said in kept


async def test_a_long_run_of_tool_calls_is_folded_behind_its_question() -> None:
    """An agent's old rounds become a document; its question and its last round stay."""
    rounds = [
        message
        for number in range(40)
        for message in (
            Message(role="assistant", tool_calls=(ToolCall(id=f"c{number}", name="look", arguments="{}"),)),
            Message(role="tool", content=f"Shelf {number} holds a book on ships.", tool_call_id=f"c{number}"),
        )
    ]

    turn = await cut_long_messages(
        ask(Message(role="user", content="Which shelf holds what?"), *rounds), (), larger_than(500)
    )

    messages = turn.skeleton().messages
    assert Message(role="user", content="Which shelf holds what?") in messages
    assert messages[-1].tool_call_id == "c39"
    assert "tool: Shelf 3 holds a book on ships." in turn.documents[0].text
    called = {call.id for message in messages for call in message.tool_calls}
    assert {message.tool_call_id for message in messages if message.role == "tool"} <= called


async def test_a_message_of_which_nothing_is_left_still_has_its_turn() -> None:
    """Roles go on alternating for templates that demand it."""
    asked = ask(
        Message(role="user", content=BOOK.replace("\n\n", " ")),
        Message(role="assistant", content="I have read it."),
        Message(role="user", content="What is it about?"),
    )

    turn = await cut_long_messages(asked, (), larger_than(1000))

    assert [message.role for message in turn.skeleton().messages] == ["user", "assistant", "user"]


async def test_a_sent_text_that_is_stored_too_is_still_the_callers() -> None:
    """A document in scope that also comes with the request counts as sent."""
    stored = Document.of(BOOK).id
    asked = ask(
        Message(role="system", content=f"Answer from this.\n\n{BOOK}"), Message(role="user", content="?")
    )

    turn = await cut_long_messages(asked, (stored,), larger_than(1000))

    assert [document.id for document in turn.documents] == [stored]
    assert turn.scope == (stored,)


@pytest.mark.parametrize("length", [10, 2000])
async def test_a_long_talk_is_measured_a_few_times_only(length: int) -> None:
    """Each measure reads all of it, so thousands of messages must not need thousands of measures."""
    messages = [
        Message(role="assistant" if at % 2 else "user", content=f"{at} " + "x" * length) for at in range(2001)
    ]
    measured = 0

    async def overflows(turn: Turn) -> bool:
        nonlocal measured
        measured += 1
        return await larger_than(1500)(turn)

    turn = await cut_long_messages(ask(*messages), (), overflows)

    assert measured < 60
    assert turn.documents
    assert not await larger_than(1500)(turn)
