"""Tells the documents in a conversation from its instructions and its question."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import msgspec

from openkimi.documents import Document
from openkimi.following import asked_in, asks_anything
from openkimi.messages import Message
from openkimi.turn import Ask, Cut, Place, Turn

Overflows = Callable[[Turn], Awaitable[bool]]

LONG = 1000
"""Characters from which a message is taken for a document rather than for an instruction."""

_BETWEEN = "\n\n"
_HEAD, _TAIL = 400, 500
_BLANK_LINE = re.compile(r"\r?\n[ \t]*\r?\n")
_INSTRUCTION = re.compile(
    r"\b(?:you|your|answer|answers|reply|respond|question|please|use only)\b|[请你您]|回答|问题",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。！？]\s*")


async def cut_long_messages(ask: Ask, stored: Sequence[str], overflows: Overflows) -> Turn:
    """Take long messages out as documents until what stays leaves room for their passages.

    The longest go first; then the oldest turns of the conversation become one document; at last even
    short messages are cut. ``overflows`` tells whether a turn's skeleton is still too large.
    """
    turn = _whole(ask, stored)
    for smallest in (LONG, None, 80):
        if not await overflows(turn):
            break
        turn = await (
            _fold(turn, overflows) if smallest is None else _cut_messages(turn, smallest, overflows)
        )
    return _attach_stored(turn)


def keep_messages(ask: Ask, stored: Sequence[str]) -> Turn:
    """Make a turn whose messages all stay as they are."""
    return _attach_stored(_whole(ask, stored))


def _whole(ask: Ask, stored: Sequence[str]) -> Turn:
    asked = asked_in(ask.request.messages)
    return Turn(
        request=ask.request,
        cuts=tuple(Cut(message=message) for message in ask.request.messages),
        question=asked.question,
        last=asked.last,
        searches=asked.searches,
        tenant=ask.tenant,
        stored=tuple(stored),
    )


async def _cut_messages(turn: Turn, smallest: int, overflows: Overflows) -> Turn:
    def length(at: int) -> int:
        return len(turn.cuts[at].message.text)

    uncut = [at for at, cut in enumerate(turn.cuts) if not cut.documents and length(at) >= smallest]
    longest = sorted(uncut, key=length, reverse=True)
    return await _fewest(turn, len(longest), lambda count: _cut(turn, longest[:count]), overflows)


async def _fewest(
    turn: Turn, most: int, shorten: Callable[[int], Awaitable[Turn]], overflows: Overflows
) -> Turn:
    """Shorten a turn by as few steps as are enough, at most by all.

    Each test reads the whole turn, so the number of steps is doubled and then halved, not counted up.
    """
    too_few, enough = 0, min(1, most)
    shortened = await shorten(enough) if most else turn
    while enough < most and await overflows(shortened):
        too_few, enough = enough, min(2 * enough, most)
        shortened = await shorten(enough)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        candidate = await shorten(middle)
        if await overflows(candidate):
            too_few = middle
        else:
            enough, shortened = middle, candidate
    return shortened


async def _cut(turn: Turn, numbers: Sequence[int]) -> Turn:
    asking = _asking(turn.cuts)
    standing: dict[int, list[int]] = {}
    for number, sent in enumerate(turn.request.messages):
        standing.setdefault(id(sent), []).append(number)
    cuts, places = list(turn.cuts), list(turn.places)
    documents = {document.id: document for document in turn.documents}
    for at in numbers:
        message = cuts[at].message
        start, end = _body(message.text, asks=at == asking, said=message.role == "user")
        document = await asyncio.to_thread(Document.of, message.text[start:end])
        cuts[at] = _around(message, document, start, end)
        documents.setdefault(document.id, document)
        places += [
            Place(document=document.id, message=number, offset=start)
            for number in standing.pop(id(message), ())
        ]
    return _with(turn, cuts, documents.values(), places)


def _around(message: Message, document: Document, start: int, end: int) -> Cut:
    head, tail = message.text[:start].strip(), message.text[end:].strip()
    return Cut(message=message, documents=(document.id,), head=head, tail=tail)


def _asking(cuts: Sequence[Cut]) -> int:
    """Return the position of the message that holds the question."""
    users = [at for at, cut in enumerate(cuts) if cut.message.role == "user"]
    return users[-1] if users else len(cuts) - 1


def _body(text: str, *, asks: bool, said: bool) -> tuple[int, int]:
    """Find where a document begins and ends between what introduces it and what follows it.

    What a user ``said`` is cut in one way while it is the question that ``asks`` and after that.
    """
    head_limit, tail_limit = min(_HEAD, len(text) // 4), min(_TAIL, len(text) // 3)
    start, end = _head_end(text, head_limit), _tail_start(text, tail_limit)
    if (asks or said) and end == len(text):
        end = _last_sentences(text, tail_limit)
    if not asks and not (_INSTRUCTION.search(text[end:]) or (said and asks_anything(text[end:]))):
        end = len(text)
    return start, end


def _head_end(text: str, limit: int) -> int:
    beginning = text[: limit + 4]
    blank = _BLANK_LINE.search(beginning)
    if blank is not None:
        return blank.end()
    return beginning.find("\n") + 1


def _tail_start(text: str, limit: int) -> int:
    base = max(0, len(text) - limit)
    blanks = list(_BLANK_LINE.finditer(text.rstrip(), base))
    if blanks:
        return blanks[-1].end()
    newline = text.rstrip().rfind("\n", base)
    return newline + 1 if newline >= 0 else len(text)


def _last_sentences(text: str, limit: int) -> int:
    base = len(text) - limit
    end = _SENTENCE_END.search(text, base, len(text) - 1)
    return end.end() if end else base


async def _fold(turn: Turn, overflows: Overflows) -> Turn:
    """Make one document of the oldest exchanges, then of the oldest rounds of tool calls.

    The question and what came last stay as they are; calls and their results stay together.
    """
    asking = _asking(turn.cuts)
    exchanges = [at for at, cut in enumerate(turn.cuts) if cut.message.role == "user" and at <= asking]
    rounds = [at for at, cut in enumerate(turn.cuts) if cut.message.role == "assistant" and at > asking]
    keep_from = (*exchanges[1:], *rounds[1:])
    return await _fewest(
        turn, len(keep_from), lambda count: _folded_before(turn, keep_from[count - 1]), overflows
    )


async def _folded_before(turn: Turn, keep_from: int) -> Turn:
    asking = _asking(turn.cuts)
    before = turn.cuts[:keep_from]
    instructions = [cut for cut in before if cut.message.role in {"system", "developer"}]
    question = [turn.cuts[asking]] if asking < keep_from else []
    staying = {id(cut) for cut in (*instructions, *question)}
    old = [cut for cut in before if id(cut) not in staying]
    lines = [_line(cut) for cut in old]
    document = await asyncio.to_thread(lambda: Document.of(_BETWEEN.join(lines)))
    kept = tuple(id_ for cut in old for id_ in cut.documents)
    memory = Cut(message=Message(role="system"), documents=(document.id, *kept))
    cuts = (*instructions, memory, *question, *turn.cuts[keep_from:])
    documents = {known.id: known for known in (*turn.documents, document)}
    places = [*turn.places, *_places(turn, document, old, lines)]
    folded = _with(turn, cuts, documents.values(), places)
    # What a question follows up on may be in the transcript now.
    return msgspec.structs.replace(
        folded,
        question=turn.question,
        last=turn.last,
        searches=turn.searches,
        with_question=turn.with_question,
    )


def _places(turn: Turn, document: Document, old: Sequence[Cut], lines: Sequence[str]) -> Iterator[Place]:
    """Tell which message each part of a transcript is, where it stands there as a whole."""
    numbers = {id(message): number for number, message in enumerate(turn.request.messages)}
    start = 0
    for cut, line in zip(old, lines, strict=True):
        if not cut.documents:
            text = start + len(_speaker(cut))
            number, end = numbers[id(cut.message)], text + len(cut.verbatim)
            yield Place(document=document.id, message=number, offset=-text, start=start, end=end)
        start += len(line) + len(_BETWEEN)


def _line(cut: Cut) -> str:
    """Write down an old message: who said what, and which tools were called with what."""
    calls = "".join(f" {call.name}({call.arguments})" for call in cut.message.tool_calls)
    return f"{_speaker(cut)}{cut.verbatim}{calls}"


def _speaker(cut: Cut) -> str:
    return f"{cut.message.role}: "


def _with(turn: Turn, cuts: Sequence[Cut], documents: Iterable[Document], places: Sequence[Place]) -> Turn:
    said = [_said(cut) for cut in cuts]
    asked = asked_in([message for message in said if message is not None])
    asking = next(
        (
            cut
            for cut, message in zip(reversed(cuts), reversed(said), strict=True)
            if _asks(message, asked.last)
        ),
        None,
    )
    return msgspec.structs.replace(
        turn,
        cuts=tuple(cuts),
        documents=tuple(documents),
        places=tuple(places),
        question=asked.question or turn.question,
        last=asked.last or turn.last,
        searches=asked.searches if asked.question else turn.searches,
        with_question=asking.documents if asking else (),
    )


def _said(cut: Cut) -> Message | None:
    """Return what a message says beside its document.

    Where its end asks and its beginning does not, that is the first line of the document and left out.
    """
    if cut.message.role == "user" and cut.tail and asks_anything(cut.tail) and not asks_anything(cut.head):
        cut = msgspec.structs.replace(cut, head="")
    return cut.with_passages("")


def _asks(message: Message | None, question: str) -> bool:
    return message is not None and message.role == "user" and message.text.strip() == question


def _attach_stored(turn: Turn) -> Turn:
    """Give stored documents a place: behind the first instructions, or in front of everything."""
    if not turn.stored:
        return turn
    cuts = list(turn.cuts)
    at = next((at for at, cut in enumerate(cuts) if cut.message.role in {"system", "developer"}), None)
    if at is None:
        cuts.insert(0, Cut(message=Message(role="system"), documents=turn.stored))
    elif cuts[at].documents:
        documents = tuple(dict.fromkeys((*cuts[at].documents, *turn.stored)))
        cuts[at] = msgspec.structs.replace(cuts[at], documents=documents)
    else:
        message = cuts[at].message
        cuts[at] = Cut(message=message, documents=turn.stored, head=message.text)
    return msgspec.structs.replace(turn, cuts=tuple(cuts))
