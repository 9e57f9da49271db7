"""What the model is asked when drafts disagree."""

from __future__ import annotations

from collections.abc import Sequence

from openkimi import Message

_LONGEST_DRAFT = 2000
_INSTRUCTION = (
    "Several drafts answer the same question. Write one answer in the language of the question. Keep what "
    "the drafts have in common and what answers the question; where they contradict each other, keep what "
    "is most precise. Add nothing of your own and do not mention the drafts."
)


def messages_of(question: str, drafts: Sequence[str]) -> list[Message]:
    """Ask for one answer made of drafts."""
    numbered = [f"Draft {number}:\n{draft[:_LONGEST_DRAFT]}" for number, draft in enumerate(drafts, start=1)]
    request = "\n\n".join((*numbered, f"Question: {question}"))
    return [Message(role="system", content=_INSTRUCTION), Message(role="user", content=request)]
