"""A model's tokens: text to ids in the engine, with the template's markers kept apart from users' text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openkimi_gguf.markers import Marker, Markers
from openkimi_gguf.metadata import Metadata
from openkimi_gguf.pieces import Infill, Piece
from openkimi_xllamacpp.client import Client

TEXTS_AT_ONCE = 256
# ``enum llama_token_type`` of llama.h.
_CONTROL, _USER_DEFINED = 3, 4
# Tokens that llama.cpp takes for control tokens even where the file does not say so.
_ENDS = frozenset(
    {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>"}
)
_INFILL = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)


class Vocabulary:
    """The vocabulary of a loaded model."""

    def __init__(self, client: Client, markers: Markers, infill: Infill | None, begin: Sequence[int]) -> None:
        """Take the ids that ``begin`` every prompt of the model, none or one."""
        self.markers = markers
        self.infill = infill
        self._client = client
        self._begin = list(begin)

    async def encode(self, pieces: Iterable[Piece]) -> list[int]:
        """Turn a rendered prompt into ids, as if it were one text but for markers in users' text."""
        runs = self.markers.runs(pieces)
        ids: list[int] = []
        for run, tokens in zip(runs, await self._client.tokenize([run.text for run in runs]), strict=True):
            ids += tokens if self.markers.ids.isdisjoint(tokens) else await self._disarmed(run.text)
            if run.marker is not None:
                ids.append(run.marker.id)
        return ids if ids[: len(self._begin)] == self._begin else self._begin + ids

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        counts: list[int] = []
        for at in range(0, len(texts), TEXTS_AT_ONCE):
            ids = await self._client.tokenize(["", *texts[at : at + TEXTS_AT_ONCE]])
            counts += map(len, ids[1:])
        return counts

    async def _disarmed(self, text: str) -> list[int]:
        parts = await self._client.tokenize(self.markers.fragments(text))
        return [token for part in parts for token in part]


async def open_vocabulary(client: Client, metadata: Metadata) -> Vocabulary:
    """Learn a model's special tokens, from its file and from the engine."""
    [plain], [begun] = await client.tokenize(["a"]), await client.tokenize(["a"], begin=True)
    begin = () if begun[:1] == plain[:1] else begun[:1]
    return Vocabulary(client, markers_of(metadata), infill_of(metadata), begin)


def markers_of(metadata: Metadata) -> Markers:
    """Find the special tokens; tags that the template uses are such, whatever the file calls them."""
    texts: list[str] = metadata.get("tokenizer.ggml.tokens", [])
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type", [])
    template = template_of(metadata) or ""
    # llama.cpp goes by the name of the model, too.
    rstrip = any(name in str(metadata.get("general.name", "")).lower() for name in ("phi-3", "phi3"))
    kept = {"<unk>", "<s>", "<|endoftext|>"}
    return Markers(
        {
            text: Marker(token, rstrip=rstrip and text not in kept)
            for token, (text, kind) in enumerate(zip(texts, kinds, strict=False))
            if kind == _CONTROL
            or text in _ENDS
            or (kind == _USER_DEFINED and text[:1] in ("<", "[") and text in template)
        }
    )


def template_of(metadata: Metadata) -> str | None:
    """Give the model's chat template, None where it has none."""
    template = metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) else None


def infill_of(metadata: Metadata) -> Infill | None:
    """Find the markers of a model that was taught to fill in text."""
    texts: list[str] = metadata.get("tokenizer.ggml.tokens", [])
    known = set(texts)
    keys = [f"tokenizer.ggml.{name}_token_id" for name in ("fim_pre", "fim_suf", "fim_mid")]
    if all(key in metadata for key in keys):
        return Infill(*(texts[metadata[key]] for key in keys))
    return next((Infill(*names) for names in _INFILL if known.issuperset(names)), None)
