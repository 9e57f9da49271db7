"""The embedder ``llama-cpp``: a tiny BERT that numpy computes too, and a real model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from structlog.testing import capture_logs
from tiny_bert import FIRST, LONGEST, MEAN, RANK, WIDTH, outputs, write

from openkimi import BackendError, ConfigError, KimiEngine, PluginError, Vectors
from openkimi.api.app import create_app
from openkimi.testing import open_component, serving
from openkimi_llama_cpp import register_embedders
from openkimi_llama_cpp.embedder_options import LlamaCppEmbedderOptions, check_embedder
from openkimi_llama_cpp.segments import Segment, batches, segments

[PROVIDER] = register_embedders()
TEXTS = ["the sea is calm .", "storm", "the ship is the storm : the sea"]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A file of a tiny BERT that pools by the mean."""
    return write(tmp_path / "bert.gguf")


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


async def embedded(path: Path, texts: list[str], *, query: bool = False, **options: Any) -> Vectors:
    async with open_component(PROVIDER, model_path=str(path), **options) as embedder:
        return await embedder.embed(texts, input_type="query" if query else "document")


@pytest.mark.parametrize(
    ("file", "option", "pooled"),
    [
        (MEAN, None, lambda rows: rows.mean(0)),
        (FIRST, None, lambda rows: rows[0]),
        (FIRST, "mean", lambda rows: rows.mean(0)),
        (MEAN, "last", lambda rows: rows[-1]),
    ],
)
async def test_vectors_are_those_of_the_model(
    tmp_path: Path, file: int, option: str | None, pooled: Any
) -> None:
    """Texts embedded together have the vectors that numpy computes, pooled as the file or the option says."""
    path = write(tmp_path / "bert.gguf", pooling=file)

    vectors = await embedded(path, TEXTS, pooling=option)

    assert vectors.dtype == np.float32
    assert vectors.shape == (3, WIDTH)
    for vector, text in zip(vectors, TEXTS, strict=True):
        assert np.allclose(vector, unit(pooled(outputs(text.split()))), atol=5e-3)


async def test_nothing_to_embed_is_zeros(bert: Path) -> None:
    """White space gets zeros, whatever is put before texts, and leaves the others alone; so do no texts."""
    vectors = await embedded(
        bert, ["", " \n\u3000", "\u200b", "sea", "\ud800 \x00"], document_prefix="query : "
    )

    assert np.linalg.norm(vectors, axis=1) == pytest.approx([0, 0, 0, 1, 1], abs=1e-5)
    assert (await embedded(bert, [])).shape == (0, WIDTH)


async def test_prefixes_are_put_before_texts(bert: Path) -> None:
    """Questions and passages get their own prefixes, as if the text began with them."""
    prefixes = {"query_prefix": "query : ", "document_prefix": "passage : "}

    [plain] = await embedded(bert, ["passage : the sea"])
    [document] = await embedded(bert, ["the sea"], **prefixes)
    [query] = await embedded(bert, ["the sea"], query=True, **prefixes)

    assert np.allclose(document, plain, atol=1e-4)
    assert np.allclose(query, unit(outputs(["query", ":", "the", "sea"]).mean(0)), atol=5e-3)


async def test_a_long_text_is_the_mean_of_its_parts(bert: Path) -> None:
    """A text that is longer than the model can read is cut into equal parts, and the end of it counts too."""
    half = (LONGEST - 2) // 2 + 1
    text = "calm " * half + "storm " * half

    [vector, first, second] = await embedded(bert, [text, "calm " * half, "storm " * half])

    assert np.allclose(vector, unit(first + second), atol=1e-3)


async def test_the_window_may_be_smaller(bert: Path) -> None:
    """``context_length`` says how many tokens are embedded as one text, a prefix included in each part."""
    options = {"context_length": 32, "document_prefix": "passage : "}
    text = "calm " * 28 + "storm " * 28

    [vector, first, second] = await embedded(bert, [text, "calm " * 28, "storm " * 28], **options)

    assert np.allclose(vector, unit(first + second), atol=1e-3)


def test_parts_are_few_and_alike() -> None:
    """A text has as few parts as the room allows, of about equal length, each after the prefix."""
    parts = list(segments(3, [7], list(range(10)), room=5))

    assert parts == [
        Segment(3, [7, 0, 1, 2], 3),
        Segment(3, [7, 3, 4, 5], 3),
        Segment(3, [7, 6, 7, 8, 9], 4),
    ]
    assert list(segments(0, [7], [], room=5)) == []


def test_batches_hold_no_more_than_they_may() -> None:
    """A batch is full by its tokens or its sequences; what is larger than a batch goes alone."""
    parts = [Segment(at, [0] * size, size) for at, size in enumerate([3, 3, 3, 9, 1, 1, 1])]

    made = [[len(part.tokens) for part in batch] for batch in batches(parts, tokens=6, sequences=2)]

    assert made == [[3, 3], [3], [9], [1, 1], [1]]


async def test_many_calls_at_once_each_get_their_own(bert: Path) -> None:
    """Calls take turns, and none gets the vectors of another."""
    texts = [f"the {word} is {other}" for word in ("sea", "ship", "storm") for other in ("calm", "the", ".")]
    async with open_component(PROVIDER, model_path=str(bert), n_batch=64) as embedder:
        whole = await embedder.embed(texts)
        calls = await asyncio.gather(*(embedder.embed([text] * 30) for text in texts))

    for vectors, expected in zip(calls, whole, strict=True):
        assert np.allclose(vectors, expected, atol=1e-3)


async def test_whoever_waits_when_it_closes_gets_an_error(bert: Path) -> None:
    """A call that is overtaken by the end, and one that comes later, fail by the contract's error."""
    async with open_component(PROVIDER, model_path=str(bert)) as embedder:
        calls = [asyncio.create_task(embedder.embed(["the sea is calm"] * 3000)) for _ in range(3)]
        await asyncio.sleep(0.05)
        cancelled = asyncio.create_task(embedder.embed(["storm"] * 3000))
        await asyncio.sleep(0)
        cancelled.cancel()
    late = embedder.embed(["too late"])

    for call in (*calls, late):
        with pytest.raises(BackendError, match="closed"):
            await call
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_the_fingerprint_changes_with_what_changes_vectors(tmp_path: Path, bert: Path) -> None:
    """Another file, pooling, prefix or window is another fingerprint; the same file elsewhere is not."""

    async def fingerprint(path: Path, **options: Any) -> str:
        async with open_component(PROVIDER, model_path=str(path), **options) as embedder:
            return embedder.fingerprint

    elsewhere = write(tmp_path / "copy.gguf")
    others = [
        await fingerprint(write(tmp_path / "other.gguf", pooling=FIRST)),
        await fingerprint(bert, pooling="last"),
        await fingerprint(bert, query_prefix="query : "),
        await fingerprint(bert, document_prefix="passage : "),
        await fingerprint(bert, context_length=48),
    ]

    first = await fingerprint(bert)
    assert await fingerprint(elsewhere, threads=1, pooling="mean") == first
    assert len({first, *others}) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_path": "no/such.gguf"}, "embedder.model_path: there is no file 'no/such.gguf'"),
        ({"model_path": "hf:only/two"}, "embedder.model_path: 'hf:only/two' should look like"),
        ({"device": "cpu", "n_gpu_layers": 2}, "embedder.n_gpu_layers: the device is 'cpu'"),
        ({"main_gpu": 1}, "set embedder.split_mode to 'none'"),
    ],
)
def test_what_cannot_work_is_refused_early(options: dict[str, Any], said: str) -> None:
    """A wrong option is one line that names it in the embedder's section; nothing is loaded for it."""
    with pytest.raises(ConfigError) as raised:
        check_embedder(LlamaCppEmbedderOptions(**{"model_path": "smollm2-135m-instruct", **options}))

    assert said in raised.value.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"context_length": LONGEST + 1}, "embedder.context_length: the model was trained for 64 tokens"),
        ({"query_prefix": "sea " * 40}, "embedder.query_prefix: it takes more than half"),
    ],
)
async def test_what_does_not_suit_the_model_is_refused(bert: Path, options: Any, said: str) -> None:
    """What can only be told once the model is loaded names the option too."""
    with pytest.raises(ConfigError, match=said):
        await embedded(bert, ["sea"], **options)


async def test_a_file_that_cannot_embed_is_refused(tmp_path: Path) -> None:
    """A model that scores pairs, and a file that is damaged, are refused by the name of the option."""
    broken = tmp_path / "llm.model_path.gguf"
    broken.write_bytes(b"GGUF and nothing more")

    with pytest.raises(ConfigError, match=r"embedder\.model_path: .*llm\.model_path\.gguf' is damaged"):
        await embedded(broken, ["sea"])
    with pytest.raises(ConfigError, match=r"embedder\.model_path: .* scores pairs"):
        await embedded(write(tmp_path / "rank.gguf", pooling=RANK), ["sea"])


def test_a_missing_library_names_its_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without llama-cpp-python the error is one line with the command that mends it."""
    monkeypatch.setattr("openkimi_llama_cpp.embedder_options.find_spec", lambda name: None)

    with pytest.raises(PluginError, match=r"embedder\.type: .* pip install 'openkimi\[llama-cpp\]'"):
        check_embedder(LlamaCppEmbedderOptions(model_path="smollm2-135m-instruct"))


async def test_the_gateway_serves_its_vectors_and_searches_with_them(bert: Path, tmp_path: Path) -> None:
    """``POST /v1/embeddings`` and the memory of documents use the configured model."""
    config = tmp_path / "config.json"
    sections = {
        "embedder": {"type": "llama-cpp", "model_path": str(bert)},
        "processor": {"type": "entropy", "chunk_characters": 100},
        "rag": {"type": "lancedb", "path": str(tmp_path / "lancedb"), "max_context_tokens": 60},
    }
    config.write_text(json.dumps(sections))
    document = "\n\n".join(f"The {word} is calm, said captain {word}." for word in ("sea", "ship", "storm"))
    engine = KimiEngine(config)
    async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:
        async with http.post("/v1/embeddings", json={"input": TEXTS}) as response:
            served = [item["embedding"] for item in (await response.json())["data"]]
        async with http.post("/v1/documents", json={"text": document}) as response:
            stored = await response.json()
        async with asyncio.timeout(30):
            while stored["state"] != "ready":
                await asyncio.sleep(0.05)
                async with http.get(f"/v1/documents/{stored['id']}") as response:
                    stored = await response.json()
        question = {
            "messages": [{"role": "user", "content": "Is the ship calm?"}],
            "openkimi": {"documents": [stored["id"]]},
        }
        async with http.post("/v1/chat/completions", json=question) as response:
            receipt = (await response.json())["openkimi"]

    assert np.allclose(served, await embedded(bert, TEXTS), atol=1e-4)
    assert receipt["passages"]


@pytest.mark.model
async def test_a_model_that_answers_can_embed() -> None:
    """Of a model without a pooling of its own the mean is taken, with a warning; alone or among others."""
    texts = ["The ferry leaves at noon.", "渡轮中午离开。", "x " * 90]
    with capture_logs() as logs:
        async with open_component(
            PROVIDER, model_path="smollm2-135m-instruct", context_length=64
        ) as embedder:
            vectors = await embedder.embed(texts)
            alone = np.concatenate([await embedder.embed([text]) for text in texts])

    assert "embedder_without_pooling" in [line["event"] for line in logs]
    assert vectors.shape == (3, 576)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert ((vectors * alone).sum(1) > 0.995).all()
