"""One question on its way through the pipeline."""

from __future__ import annotations

import secrets

import msgspec

from openkimi.documents import ANONYMOUS, Document, Hit
from openkimi.messages import GenerateRequest, ImagePart, Message, Part, TextPart
from openkimi.modes import Mode, OnUnsupported

_LEFT_OUT = "…"
"""Stands for a message of which nothing is left, so that roles still alternate."""


class PathOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How several reasoning paths are to run for a request; None: as configured.

    Of two limits the smaller one holds. With ``drafts`` each candidate is told in the answer's reasoning.
    """

    gate: bool | None = None
    early_stop: bool | None = None
    timeout: float | None = None
    max_total_tokens: int | None = None
    on_unsupported: OnUnsupported | None = None
    drafts: bool = False


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants: ``n`` answers to a request, from the documents in scope.

    ``documents`` names stored documents to search; None means those of the conversation, ``ingested``, and
    those that are preloaded, which add passages only where these are relevant. ``mpr_candidates`` is the
    number of reasoning paths, None for the configured one, and ``mpr`` how they are to run. ``citations`` is
    False where nobody wants to know what the answer cites. ``mode`` says how much of the documents to read,
    ``max_calls`` how many answers of the model the exhaustive mode may take, None for the configured number.
    """

    request: GenerateRequest
    n: int = 1
    tenant: str = ANONYMOUS
    documents: tuple[str, ...] | None = None
    ingested: tuple[str, ...] = ()
    mpr_candidates: int | None = None
    mpr: PathOptions = PathOptions()
    citations: bool = True
    mode: Mode = "auto"
    max_calls: int | None = None

    def sharing(self, share: str) -> Ask:
        """Have what is generated for it take turns under a name, unless it has one."""
        if self.request.share is not None:
            return self
        return msgspec.structs.replace(self, request=msgspec.structs.replace(self.request, share=share))


def new_share() -> str:
    """Make a name for all that is generated for one caller's request."""
    return secrets.token_hex(8)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a document stood: in the request's message of that number, from the character ``offset`` on.

    Of a transcript each message has a place of its own, for the characters ``start`` to ``end`` of the
    document. They begin with who speaks, so that ``offset`` is below zero by more than ``start``.
    """

    document: str
    message: int
    offset: int
    start: int = 0
    end: int | None = None


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its long text taken out.

    ``head`` and ``tail`` stay verbatim around the passages of the documents named in ``documents``. A cut
    without documents is a message that stays as it is.
    """

    message: Message
    documents: tuple[str, ...] = ()
    head: str = ""
    tail: str = ""

    @property
    def verbatim(self) -> str:
        """The text that stays."""
        if not self.documents:
            return self.message.text
        return "\n\n".join(part for part in (self.head, self.tail) if part)

    def with_passages(self, passages: str) -> Message | None:
        """Return the message around the given passages, None when nothing is left of it."""
        if not self.documents:
            return self.message
        text = "\n\n".join(part for part in (self.head, passages, self.tail) if part)
        images = _images(self.message)
        if not text and not images and self.message.role in {"system", "developer"}:
            return None
        text = text or ("" if self.message.tool_calls else _LEFT_OUT)
        content: str | tuple[Part, ...] = (TextPart(text=text), *images) if images else text
        return msgspec.structs.replace(self.message, content=content)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose documents have been told from its instructions and its question.

    ``question`` is the ``last`` one with what it follows up on, ``searches`` are the texts that find its
    passages, ``with_question`` the documents that stood in the message which asked it. ``documents`` came
    with the request and have to be remembered, ``places`` says where they stood; ``stored`` are ids already
    known. ``hits`` are the passages found, best first; ``irrelevant`` were found too, in documents that
    nobody asked for.
    """

    request: GenerateRequest
    cuts: tuple[Cut, ...]
    question: str
    last: str = ""
    searches: tuple[str, ...] = ()
    with_question: tuple[str, ...] = ()
    tenant: str = ANONYMOUS
    documents: tuple[Document, ...] = ()
    places: tuple[Place, ...] = ()
    stored: tuple[str, ...] = ()
    hits: tuple[Hit, ...] = ()
    irrelevant: tuple[Hit, ...] = ()

    @property
    def scope(self) -> tuple[str, ...]:
        """The ids of all documents that the question is answered from."""
        return tuple(dict.fromkeys((*(document.id for document in self.documents), *self.stored)))

    def place_of(self, document: str, start: int, end: int) -> Place | None:
        """Return where characters of a document stood; None for a stored one, and between two messages."""
        for place in reversed(self.places):
            if place.document == document and place.start <= start and end <= (place.end or end):
                return place
        return None

    def skeleton(self) -> GenerateRequest:
        """Return the request with no passages in it."""
        return self.with_passages({})

    def with_passages(self, passages: dict[int, str]) -> GenerateRequest:
        """Return the request with text for some of the cuts, by their position."""
        messages = (cut.with_passages(passages.get(at, "")) for at, cut in enumerate(self.cuts))
        return msgspec.structs.replace(self.request, messages=tuple(m for m in messages if m is not None))


def _images(message: Message) -> tuple[ImagePart, ...]:
    if isinstance(message.content, str):
        return ()
    return tuple(part for part in message.content if isinstance(part, ImagePart))
