"""A model's tokens: text to ids and back, with the template's markers kept apart from users' text."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkimi import BackendError
from openkimi_gguf.markers import Marker, Markers
from openkimi_gguf.pieces import Infill, Piece

Logits = NDArray[np.float32]


class Vocabulary:
    """The vocabulary of a loaded model; it never changes, so every thread may use it at once."""

    def __init__(self, library: Any, model: Any, template: str = "") -> None:
        """Read the special tokens; tags that ``template`` uses are markers, whatever the model calls them."""
        self._library = library
        self.handle = library.llama_model_get_vocab(model)
        self.size: int = library.llama_vocab_n_tokens(self.handle)
        self.bos: int = library.llama_vocab_bos(self.handle)
        self.bos_text = self._text(self.bos)
        self.eos_text = self._text(library.llama_vocab_eos(self.handle))
        self.infill = self._read_infill()
        self._add_bos = self.bos >= 0 and library.llama_vocab_get_add_bos(self.handle)
        self._markers = self._read_markers(template)
        self.markers = self._markers.ids
        self.controls = frozenset(filter(self._is_control, self.markers))

    def encode(self, pieces: Iterable[Piece]) -> list[int]:
        """Turn a rendered prompt into ids, as if it were one text but for markers in users' text."""
        ids: list[int] = []
        for text, marker in self._markers.runs(pieces):
            ids.extend(self._tokenize_disarmed(text))
            if marker is not None:
                ids.append(marker.id)
        if self._add_bos and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def tokenize(self, text: str) -> list[int]:
        """Turn a text into ids, control tokens taken as text."""
        return self._tokenize(text, frame=False)

    def frame(self) -> tuple[list[int], list[int]]:
        """Return the ids that belong before and after a whole text, as the model was trained."""
        ids = self._tokenize("", frame=True)
        before = ids[:1] if len(ids) > 1 or ids == [self.bos] else []
        return before, ids[len(before) :]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return [len(self.tokenize(text)) if text else 0 for text in texts]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return the bytes of a token, nothing for a control token but if ``special``.

        A character may span several tokens.
        """
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._library.llama_token_to_piece(self.handle, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def ends(self, token: int) -> bool:
        """Tell whether a token ends the answer."""
        return bool(self._library.llama_vocab_is_eog(self.handle, token))

    def ids(self, texts: Iterable[str]) -> frozenset[int]:
        """Find the special tokens of some texts; those that the model lacks are left out."""
        return self._markers.of(texts)

    def _tokenize(self, text: str, *, frame: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        buffer = (ctypes.c_int32 * size)()
        count = self._library.llama_tokenize(self.handle, data, len(data), buffer, size, frame, False)
        if count < 0:
            raise BackendError("the text is too long to be tokenised")
        return buffer[:count]

    def _is_control(self, token: int) -> bool:
        flags = self._library.llama_vocab_get_attr(self.handle, token)
        return bool(flags & self._library.LLAMA_TOKEN_ATTR_CONTROL)

    def _tokenize_disarmed(self, text: str) -> list[int]:
        """Tokenise text that must not give a marker; the rare text that would is taken apart."""
        if not text:
            return []
        ids = self.tokenize(text)
        if self.markers.isdisjoint(ids):
            return ids
        return [token for fragment in self._markers.fragments(text) for token in self.tokenize(fragment)]

    def _text(self, id: int) -> str:
        text: bytes = self._library.llama_vocab_get_text(self.handle, id) if id >= 0 else b""
        return text.decode("utf-8", "replace")

    def _read_infill(self) -> Infill | None:
        library = self._library
        names = (library.llama_vocab_fim_pre, library.llama_vocab_fim_suf, library.llama_vocab_fim_mid)
        ids = [name(self.handle) for name in names]
        return None if min(ids) < 0 else Infill(*map(self._text, ids))

    def _read_markers(self, template: str) -> Markers:
        library, markers = self._library, {}
        special = library.LLAMA_TOKEN_ATTR_CONTROL | library.LLAMA_TOKEN_ATTR_USER_DEFINED
        for token in range(self.size):
            flags = library.llama_vocab_get_attr(self.handle, token)
            if not flags & special:
                continue
            text = self._text(token)
            if flags & library.LLAMA_TOKEN_ATTR_CONTROL or (text[:1] in ("<", "[") and text in template):
                lstrip, rstrip = library.LLAMA_TOKEN_ATTR_LSTRIP, library.LLAMA_TOKEN_ATTR_RSTRIP
                markers[text] = Marker(token, bool(flags & lstrip), bool(flags & rstrip))
        return Markers(markers)
