"""The abstract classes that plugins implement. Nothing here depends on a plugin.

Every ``async`` method may be called from several tasks at once and must not block the event loop: run
blocking work in a thread (``await asyncio.to_thread(...)``). A cancelled call stops its work soon.
Errors meant for the caller are subclasses of :class:`openkimi.OpenKimiError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from openkimi.documents import ANONYMOUS, Chunk, Document, DocumentInfo, Hit, Query
from openkimi.messages import Delta, FinishReason, GenerateRequest, Message, ToolCall, Usage

CONTRACT_VERSION = 1
"""The version of the contracts in this module."""

Feature = Literal[
    "stop", "seed", "penalties", "logit_bias", "logprobs", "response_format", "tools", "images", "suffix"
]
Vectors = NDArray[np.float32]


class Backend(ABC):
    """A language model that answers chat requests.

    ``features`` names the request parameters it honours beyond ``max_tokens``, ``temperature`` and
    ``top_p``; a request that needs another one is refused before it gets here (``stop`` is emulated).
    ``parameters`` is the model's number of weights, or None where unknown: small models get short prompts.
    ``concurrency`` is how many requests it works on at once, more wait inside of it; None: any number.
    ``takes_turns`` says that requests at the same time slow each other down, as on a processor, so that
    several reasoning paths had better come one after another.
    """

    features: frozenset[Feature] = frozenset()
    parameters: int | None = None
    concurrency: int | None = None
    takes_turns: bool = False

    @property
    @abstractmethod
    def context_window(self) -> int:
        """The most tokens that prompt and answer may have together."""

    @abstractmethod
    def generate(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Answer a request, step by step; written as an ``async def`` with ``yield``.

        The last delta carries a ``finish_reason``. When the iterator is closed early, the work behind it
        stops and whatever it held is free when ``aclose()`` returns. ``request.max_tokens`` is set, and
        prompt and answer fit :attr:`context_window` by :meth:`count_prompt`.

        Raises:
            BackendError: the model or the server behind it failed.
        """

    @abstractmethod
    async def count_prompt(self, request: GenerateRequest) -> int:
        """Count the tokens of the prompt that :meth:`generate` would read, template and tools included."""

    @abstractmethod
    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text on its own, without template or special tokens."""

    async def trim(self) -> None:  # noqa: B027 - what keeps nothing has nothing to let go of
        """Let go of what can be made anew, such as caches; answers that are being written go on.

        Called when memory is short, or now and then; nothing unless overridden.
        """


class Embedder(ABC):
    """Turns texts into vectors whose inner product tells how near their meanings are."""

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """The length of a vector."""

    @property
    def fingerprint(self) -> str:
        """A name that changes whenever the same text would get another vector."""
        return f"{type(self).__module__}.{type(self).__qualname__}:{self.dimensions}"

    @abstractmethod
    async def embed(
        self, texts: Sequence[str], *, input_type: Literal["query", "document"] = "document"
    ) -> Vectors:
        """Embed texts as an array of shape ``(len(texts), dimensions)``, float32, rows of unit length.

        A text without anything to embed gets a row of zeros.
        """

    async def trim(self) -> None:  # noqa: B027 - what keeps nothing has nothing to let go of
        """Let go of what can be made anew, such as vectors of texts; calls that are running go on."""


class Processor(ABC):
    """Cuts a document into chunks and scores the information density of each."""

    @property
    @abstractmethod
    def version(self) -> str:
        """A name that changes whenever the same document would be cut or scored otherwise."""

    @abstractmethod
    async def process(self, document: Document) -> Sequence[Chunk]:
        """Cut a document into chunks, in its order, that miss nothing but white space.

        The same document gives the same chunks. An empty one gives none.
        """

    async def trim(self) -> None:  # noqa: B027 - what keeps nothing has nothing to let go of
        """Let go of what can be made anew; calls that are running go on."""


class Retriever(ABC):
    """Remembers documents and finds the chunks that a question needs.

    A document belongs to the tenant that added it; no method ever shows it to another one. Ranking
    depends on the documents named in the query and on nothing else that is stored.
    """

    @abstractmethod
    async def add(
        self, document: Document, chunks: Sequence[Chunk], *, fingerprint: str, tenant: str = ANONYMOUS
    ) -> None:
        """Store a document's chunks under a processor's ``fingerprint``; they can be searched on return.

        Vectors may follow in the background. A document that is stored already is replaced; one that was
        ``kept`` stays so, and keeps its name where the new one has none. When the call fails or is cancelled
        the document is either whole or absent.
        """

    @abstractmethod
    async def get(self, document_id: str, *, tenant: str = ANONYMOUS) -> DocumentInfo | None:
        """Tell what is known of a document, None when this tenant does not have it."""

    @abstractmethod
    async def list(self, *, tenant: str = ANONYMOUS) -> Sequence[DocumentInfo]:
        """List the tenant's documents, oldest first."""

    @abstractmethod
    async def read(
        self, document_id: str, *, tenant: str = ANONYMOUS, ordinals: Sequence[int] | None = None
    ) -> Sequence[Chunk]:
        """Read a document's chunks in order: all of them, or those of the given ordinals that exist.

        Raises:
            DocumentNotFound: this tenant does not have the document.
        """

    @abstractmethod
    async def text(self, document_id: str, *, tenant: str = ANONYMOUS) -> str:
        """Return a document's text as it was added, to the character.

        Raises:
            DocumentNotFound: this tenant does not have the document.
        """

    @abstractmethod
    async def search(self, query: Query) -> Sequence[Hit]:
        """Find the chunks that answer a query, best first; documents the tenant lacks are passed over."""

    @abstractmethod
    async def delete(self, document_id: str, *, tenant: str = ANONYMOUS) -> bool:
        """Forget a tenant's document; False when there was none."""

    async def outdated(self, fingerprint: str) -> Sequence[tuple[str, str]]:
        """List tenant and id of documents that should be added again, as none unless overridden.

        They were added under another ``fingerprint``, or by an older version of this class. The gateway adds
        them again from their :meth:`text`, in the background while they are searched as they are.
        """
        return ()

    async def trim(self) -> None:  # noqa: B027 - what keeps nothing has nothing to let go of
        """Let go of what can be made anew, never of a document; calls that are running go on."""


class ContextSampler(ABC):
    """Chooses the different contexts that several reasoning paths read."""

    @abstractmethod
    def sample(self, hits: Sequence[Hit], n: int, *, seed: int) -> Sequence[Sequence[Hit]]:
        """Order the hits ``n`` times, the most wanted first; each path's prompt takes as many as fit.

        Pure: the same arguments give the same result; it runs in a thread. The first context is the one
        that a single path would get. ``hits`` are the best 200 at most, best first. A context may leave hits
        out; what was found behind the 200 follows only in one that has all of them.
        """


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One path's answer, with the passages it read."""

    index: int
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    context: tuple[Hit, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()


class Synthesis(msgspec.Struct, frozen=True, kw_only=True):
    """The answer made of several candidates.

    ``answer`` yields it and ends with a ``finish_reason``. ``chosen`` is the index of the candidate that
    was taken as it is, None when a new text was written. ``agreement`` in [0, 1] is how alike the
    candidates were. ``dissenting`` are the indexes of those that say something else than the answer; where a
    new text was written and none is named, that is not known.
    ``supported`` tells whether what was read bears the answer out, None where that cannot be told: with
    False, and so configured, the caller is told that the text does not say it.
    """

    answer: AsyncIterator[Delta]
    chosen: int | None = None
    agreement: float | None = None
    dissenting: tuple[int, ...] = ()
    supported: bool | None = None


class Generate(Protocol):
    """What a synthesizer is given to ask the model itself, under the request's own settings."""

    def __call__(self, messages: Sequence[Message]) -> AsyncIterator[Delta]:
        """Answer the messages; they are fitted to the window first."""
        ...


class Synthesizer(ABC):
    """Makes one answer of several candidates."""

    @abstractmethod
    async def synthesize(
        self, question: str, candidates: Sequence[Candidate], generate: Generate
    ) -> Synthesis:
        """Choose or write the answer; there is at least one candidate.

        A candidate with tool calls, or one made under a response format, is chosen, never rewritten.
        """

    def settled(self, question: str, candidates: Sequence[Candidate], paths: int) -> bool:
        """Tell whether the answer is clear before all of the ``paths`` have been walked.

        Asked each time that a candidate has come, with all that have: after the first where ``mpr.gate`` is
        on, after others where ``mpr.early_stop`` is. True leaves out the paths that are left. Pure and
        quick; it runs in a thread.
        """
        return False
