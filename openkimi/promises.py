"""Tells what a component gave that its contract rules out, by types, shapes and numbers.

Each function returns None where a value is as promised, or else names what it is, in words that fit behind
"not" and have nothing of a text in them. What is large is looked at as cheaply as can be.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, get_args

import numpy as np

from openkimi.contracts import Synthesis
from openkimi.documents import Chunk, Document, Hit, PassagePlace, Query, Sentence
from openkimi.messages import Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage

_FINISHED = frozenset({None, *get_args(FinishReason)})


def kind_of(value: object) -> str:
    """Name what a value is."""
    return type(value).__qualname__


def unlike(value: object, *kinds: type) -> str | None:
    """Look at a value that has to be of some type."""
    return None if isinstance(value, kinds) else kind_of(value)


def no_list(values: object) -> str | None:
    """Look at what has to be a list or tuple; text is none."""
    return kind_of(values) if isinstance(values, str | bytes) else unlike(values, Sequence)


def unlike_list(values: Any, kind: type) -> str | None:
    """Look at what has to be a list or tuple with items of some type only."""
    if (given := no_list(values)) is not None:
        return given
    for each in set(map(type, values)):
        if not issubclass(each, kind):
            return f"{kind_of(values)} with {each.__qualname__}"
    return None


def no_count(value: object) -> str | None:
    """Look at what has to be a whole number, 0 or more."""
    return kind_of(value) if type(value) is not int else str(value) if value < 0 else None


def no_size(value: object) -> str | None:
    """Look at what has to be a whole number, 1 or more."""
    given = no_count(value)
    return "0" if given is None and not value else given


def no_counts(counts: Any, number: int) -> str | None:
    """Look at what has to be so many whole numbers."""
    if (given := unlike_list(counts, int)) is not None:
        return given
    if len(counts) != number:
        return str(len(counts))
    return "negative ones" if number and min(counts) < 0 else None


def no_vectors(vectors: object, rows: int, dimensions: int) -> str | None:
    """Look at what has to be an array of so many rows."""
    if not isinstance(vectors, np.ndarray):
        return kind_of(vectors)
    if vectors.shape != (rows, dimensions) or vectors.dtype != np.float32:
        return f"shape {vectors.shape} of {vectors.dtype}"
    return None if np.isfinite(vectors).all() else "with NaN or infinite numbers"


def no_chunk(chunk: Any) -> str | None:
    """Look at what has to be a chunk."""
    if (given := unlike(chunk, Chunk)) is not None:
        return given
    if not (isinstance(chunk.text, str) and isinstance(chunk.start, int) and isinstance(chunk.end, int)):
        return f"a Chunk of {kind_of(chunk.text)} from {kind_of(chunk.start)} to {kind_of(chunk.end)}"
    if chunk.start < 0 or chunk.end - chunk.start != len(chunk.text):
        return f"a Chunk from {chunk.start} to {chunk.end} with {len(chunk.text)} characters"
    if not isinstance(chunk.headings, tuple) or not isinstance(chunk.ordinal, int):
        return f"a Chunk with headings in {kind_of(chunk.headings)} and ordinal {kind_of(chunk.ordinal)}"
    return None if _is_number(chunk.density) else f"a Chunk with the density {_number(chunk.density)}"


def no_chunks_of(chunks: Any, document: Document) -> str | None:
    """Look at what have to be the chunks of a document, in its order."""
    if (given := unlike_list(chunks, Chunk)) is not None:
        return given
    for at, chunk in enumerate(chunks):
        if (given := no_chunk(chunk)) is not None:
            return given
        if chunk.ordinal != at or not isinstance(chunk.key, str):
            return f"a Chunk with ordinal {chunk.ordinal} and key {kind_of(chunk.key)} at {at}"
        if not 0 <= chunk.density <= 1:
            return f"a Chunk with the density {_number(chunk.density)}"
        if not document.text.startswith(chunk.text, chunk.start):
            return f"a Chunk from {chunk.start} to {chunk.end} with another text than the document has there"
    return None


def no_hits_for(hits: Any, query: Query) -> str | None:
    """Look at what have to be hits in the documents of a query."""
    if (given := no_list(hits)) is not None:
        return given
    asked = frozenset(query.document_ids)
    for hit in hits:
        if not isinstance(hit, Hit):
            return f"{kind_of(hits)} with {kind_of(hit)}"
        if not isinstance(hit.document_id, str) or hit.document_id not in asked:
            return "a Hit in a document that was not asked for"
        if not _is_number(hit.score):
            return f"a Hit with the score {_number(hit.score)}"
        if (given := no_chunk(hit.chunk)) is not None:
            return f"a Hit with {given}"
        if not (_is_number(hit.lexical or 0.0) and _is_number(hit.similarity or 0.0)):
            return f"a Hit with lexical {_number(hit.lexical)} and similarity {_number(hit.similarity)}"
        if hit.sentences and not _covers(hit.sentences, len(hit.chunk.text)):
            return "a Hit with sentences that do not cover its text"
    return None


def untidy(hits: Sequence[Hit], query: Query) -> str | None:
    """Look whether hits that are some are as many and in the order that was asked for; it can be mended."""
    if len(hits) > query.limit:
        return f"{len(hits)} where {query.limit} were asked for"
    if len({hit.place for hit in hits}) < len(hits):
        return "one passage twice"
    scores = [hit.score for hit in hits]
    return None if all(map(operator.ge, scores, scores[1:])) else "a better one behind another"


def tidied(hits: Sequence[Hit], query: Query) -> Sequence[Hit]:
    """Put the best first and leave out what comes again, and what is more than was asked for."""
    best: dict[PassagePlace, Hit] = {}
    for hit in sorted(hits, key=lambda hit: -hit.score):
        best.setdefault(hit.place, hit)
    return tuple(best.values())[: query.limit]


def no_orders_of(orders: Any, hits: Sequence[Hit], number: int) -> str | None:
    """Look at what have to be so many orders of some hits; scores may differ, the passages may not."""
    if (given := no_list(orders)) is not None:
        return given
    if len(orders) != number:
        return str(len(orders))
    known = set(map(id, hits))
    for order in orders:
        if (unlike := unlike_list(order, Hit)) is not None:
            return f"one of {unlike}"
        if not known.issuperset(map(id, order)) and not _passages(hits) >= _passages(order):
            return "one with a Hit that was not given"
    return None


def no_delta(delta: Any) -> str | None:
    """Look at what has to be a step of an answer."""
    if (given := unlike(delta, Delta)) is not None:
        return given
    if not isinstance(delta.content, str) or not isinstance(delta.reasoning, str):
        return f"a Delta with content {kind_of(delta.content)} and reasoning {kind_of(delta.reasoning)}"
    if delta.finish_reason is None and delta.usage is None and not delta.tool_calls and not delta.logprobs:
        return None
    return _no_end(delta)


def no_synthesis(made: Any) -> str | None:
    """Look at what has to be the outcome of a synthesis; its answer is looked at while it comes.

    Numbers may be those of another library.
    """
    if (given := unlike(made, Synthesis)) is not None:
        return given
    try:
        if not math.isfinite(0.0 if made.agreement is None else made.agreement):
            return f"one with the agreement {made.agreement}"
    except TypeError:
        return f"one with the agreement {kind_of(made.agreement)}"
    if not _are_numbers(made.dissenting):
        return f"one whose dissenting are {kind_of(made.dissenting)}"
    return None


def no_names(names: object) -> str | None:
    """Look at what has to be a set of words."""
    if isinstance(names, str | bytes) or not isinstance(names, AbstractSet | Sequence):
        return kind_of(names)
    return next((f"with {kind_of(name)}" for name in names if not isinstance(name, str)), None)


def _no_end(delta: Delta) -> str | None:
    if unlike(delta.finish_reason, str, type(None)) or delta.finish_reason not in _FINISHED:
        return f"a Delta with another finish_reason than {', '.join(get_args(FinishReason))}"
    if (given := unlike(delta.usage, Usage, type(None))) is not None:
        return f"a Delta whose usage is {given}"
    if delta.tool_calls and (given := unlike_list(delta.tool_calls, ToolCallDelta)) is not None:
        return f"a Delta whose tool_calls are {given}"
    if delta.logprobs and (given := unlike_list(delta.logprobs, TokenLogprob)) is not None:
        return f"a Delta whose logprobs are {given}"
    return None


def _covers(sentences: Any, length: int) -> bool:
    """Tell whether sentences go from the beginning to the end; gaps between them are not looked for."""
    if not isinstance(sentences, tuple | list) or not set(map(type, sentences)) <= {Sentence}:
        return False
    return bool(sentences[0].start == 0 and sentences[-1].end == length)


def _passages(hits: Iterable[Hit]) -> set[tuple[str, Chunk]]:
    return {(hit.document_id, hit.chunk) for hit in hits}


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _are_numbers(values: object) -> bool:
    """Tell whether values are whole numbers that can be read again after this look at them."""
    if not isinstance(values, Collection):
        return False
    try:
        tuple(map(int, values))
    except (TypeError, ValueError):
        return False
    return True


def _number(value: object) -> str:
    return str(value) if isinstance(value, float | int) else kind_of(value)
