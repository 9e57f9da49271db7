"""The retriever ``lancedb`` against the contract, with real LanceDB on disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

import openkimi_lancedb
import openkimi_use
from openkimi import ConfigError, DocumentNotFound, Embedder, Hit, Query, Retriever
from openkimi.testing import HashingEmbedder, cut, open_component

PROVIDER = next(iter(openkimi_lancedb.register_retrievers()))
PARAGRAPHS = (
    "The installer offers a guided mode for beginners.",
    "Pass --assume-clean to mdadm to skip the synchronization of a new mirror.",
    "Pass --assume-yes to apt to skip its questions.",
    "Over 3,000 disputes were settled in version 2.6.32 of the agreement.",
    "Addresses are configured in /etc/network/interfaces on servers.",
    "Backups are written to tape each week and kept in a vault.",
)
MANUAL = "\n\n".join(PARAGRAPHS)
CHINESE = (
    "安装程序为初学者提供引导模式，逐步询问语言、国家和键盘。",
    "创建镜像阵列时，可以使用 --assume-clean 选项跳过初始同步。",
    "每个星期天夜里，系统把数据备份到磁带上，磁带保存在银行的保险柜里。",
    "防火墙默认拒绝所有来自外部的连接，只开放远程登录的端口。",
    "编辑网络接口文件可以配置静态地址，修改后需要重启网络服务。",
)


_HOLDING = """
import time
from openkimi_lancedb.temporary import temporary_directory
with temporary_directory() as directory:
    print(directory.name, flush=True)
    time.sleep(60)
"""


def _left_by_a_killed_process() -> str:
    """Return the name of a temporary directory whose process was killed."""
    process = subprocess.Popen([sys.executable, "-c", _HOLDING], stdout=subprocess.PIPE)
    assert process.stdout is not None
    name = process.stdout.readline().decode().strip()
    process.kill()
    process.communicate()
    return name


def store(
    path: Path, embedder: Embedder | None = None, **options: Any
) -> AbstractAsyncContextManager[Retriever]:
    return open_component(PROVIDER, embedder=embedder or HashingEmbedder(), path=str(path), **options)


async def add(retriever: Retriever, text: str, tenant: str = "anonymous") -> str:
    document, chunks = cut(text)
    await retriever.add(document, chunks, fingerprint="test", tenant=tenant)
    return document.id


async def ask(
    retriever: Retriever, question: str, *document_ids: str, tenant: str = "anonymous", **more: Any
) -> Sequence[Hit]:
    return await retriever.search(Query(text=question, document_ids=document_ids, tenant=tenant, **more))


async def ready(retriever: Retriever, document_id: str, tenant: str = "anonymous") -> None:
    for _ in range(3000):
        info = await retriever.get(document_id, tenant=tenant)
        if info is not None and info.state == "ready":
            return
        await asyncio.sleep(0.01)
    pytest.fail("the vectors are not complete after 30 seconds")


def tables_in(path: Path, prefix: str = "") -> list[str]:
    return sorted(child.name for child in path.glob(f"{prefix}*"))


@pytest.mark.parametrize(
    ("question", "ordinal"),
    [
        ("--assume-clean", 1),
        ("What does --assume-yes do?", 2),
        ("How many disputes: 3,000?", 3),
        ("2.6.32", 3),
        ("/etc/network/interfaces", 4),
        ("backup weeks", 5),
    ],
)
async def test_exact_names_and_numbers_are_found(tmp_path: Path, question: str, ordinal: int) -> None:
    """A flag, number, version, path or inflected word leads to the one passage that has it."""
    async with store(tmp_path) as retriever:
        hits = await ask(retriever, question, await add(retriever, MANUAL))

    assert hits[0].chunk.ordinal == ordinal
    assert hits[0].lexical is not None
    assert hits[0].similarity is not None


async def test_the_threshold_spares_what_the_words_found(tmp_path: Path) -> None:
    """Under the threshold only hits of the lexical side remain."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, MANUAL)
        hits = await ask(retriever, "tape", document_id, similarity_threshold=0.99)

    assert [hit.chunk.ordinal for hit in hits] == [5]


async def test_what_is_stored_survives_a_restart(tmp_path: Path) -> None:
    """A store opened again answers alike and asks the embedder for no stored text."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, MANUAL)
        before = await ask(retriever, "mirror synchronization", document_id)
    tables = tables_in(tmp_path)
    embedder = HashingEmbedder()

    async with store(tmp_path, embedder) as retriever:
        again = await add(retriever, MANUAL)
        after = await ask(retriever, "mirror synchronization", document_id)

    assert again == document_id
    assert after == before
    assert tables_in(tmp_path) == tables
    assert embedder.embedded == []


async def test_an_edited_document_embeds_what_changed(tmp_path: Path) -> None:
    """Vectors of unchanged chunks are taken over from the earlier version."""
    embedder = HashingEmbedder()
    async with store(tmp_path, embedder) as retriever:
        await ready(retriever, await add(retriever, MANUAL))
        embedder.embedded.clear()
        edited = MANUAL.replace("tape each week", "disk each night")
        document_id = await add(retriever, edited)
        await ready(retriever, document_id)
        hits = await ask(retriever, "tape disk vault", document_id)

    assert embedder.embedded == ["Backups are written to disk each night and kept in a vault."]
    assert hits[0].similarity == pytest.approx(max(hit.similarity or 0 for hit in hits))


async def test_another_processor_replaces_the_chunks(tmp_path: Path) -> None:
    """A document added under another fingerprint has the new chunks only, and known vectors are kept."""
    document, chunks = cut(MANUAL)
    embedder = HashingEmbedder()
    async with store(tmp_path, embedder) as retriever:
        await retriever.add(document, chunks, fingerprint="f1")
        await ready(retriever, document.id)
        embedder.embedded.clear()
        await retriever.add(document, chunks[:3], fingerprint="f2")
        info = await retriever.get(document.id)

        assert info is not None
        assert (info.fingerprint, info.chunks) == ("f2", 3)
        assert await retriever.read(document.id) == chunks[:3]
        assert len(await retriever.list()) == 1
        assert embedder.embedded == []
    assert len(tables_in(tmp_path, "chunks")) == 1


async def test_a_deleted_document_is_gone_from_disk(tmp_path: Path) -> None:
    """Deleting removes the tables, and reading says so."""
    async with store(tmp_path) as retriever:
        document_id = await add(retriever, MANUAL)
        await retriever.delete(document_id)

        with pytest.raises(DocumentNotFound):
            await retriever.read(document_id)
        assert tables_in(tmp_path) == ["documents_2.lance"]


async def test_the_same_document_added_at_once_is_stored_once(tmp_path: Path) -> None:
    """Concurrent adds of a document do its work once, and it can be searched when each of them returns."""
    embedder = HashingEmbedder()
    async with store(tmp_path, embedder) as retriever:

        async def add_and_ask() -> int:
            return len(await ask(retriever, "tape", await add(retriever, MANUAL)))

        found = await asyncio.gather(*(add_and_ask() for _ in range(5)))

        assert found == [6] * 5
        assert len(embedder.embedded) == 6
        assert len(await retriever.list()) == 1
        assert len(tables_in(tmp_path, "chunks")) == 1


async def test_two_retrievers_on_one_path_see_each_other(tmp_path: Path) -> None:
    """What one adds or deletes the other finds at once, both writing at the same time."""
    async with store(tmp_path) as one, store(tmp_path) as other:
        texts = [f"{MANUAL}\n\nNumber {n}." for n in range(8)]
        ids = await asyncio.gather(*(add((one, other)[n % 2], text) for n, text in enumerate(texts)))
        seen = [{info.id for info in await each.list()} for each in (one, other)]
        found = await ask(other, "tape", ids[0])
        await one.delete(ids[0])

        assert seen == [set(ids), set(ids)]
        assert len(found) == 7
        assert await other.get(ids[0]) is None
        assert await ask(other, "tape", ids[0]) == ()


async def test_the_directory_is_private(tmp_path: Path) -> None:
    """A new store may be read by its owner only."""
    async with store(tmp_path / "deep" / "store"):
        mode = (tmp_path / "deep" / "store").stat().st_mode & 0o777

    assert mode == 0o700


async def test_without_persistence_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is not kept lives in a private temporary directory and is removed at the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with store(tmp_path / "unused", persist=False) as retriever:
        document_id = await add(retriever, MANUAL)
        (name,) = tables_in(tmp_path)

        assert len(await ask(retriever, "tape", document_id)) == 6
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
    assert tables_in(tmp_path) == []


async def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start removes the temporary directory of a killed process, but not that of one at work."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "openkimi-somebody-elses").mkdir()
    left = _left_by_a_killed_process()
    async with store(tmp_path, persist=False):
        (working,) = set(tables_in(tmp_path)) - {"openkimi-somebody-elses"}
        async with store(tmp_path, persist=False):
            during = tables_in(tmp_path)

    assert left.startswith("openkimi-")
    assert left not in during
    assert working in during
    assert tables_in(tmp_path) == ["openkimi-somebody-elses"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"storage_options": {"aws_region": "x"}}, "object storage"),
        ({"top_k": 3}, "top_k"),
        ({"rrf_k": 0}, "rrf_k"),
    ],
)
async def test_options_that_cannot_work_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """Reranking, storage options for a directory, and the core's own keys are no options here."""
    with pytest.raises(ConfigError, match=message):
        async with store(tmp_path, **options):
            pass


@pytest.mark.model
async def test_a_chinese_question_finds_the_passage(tmp_path: Path) -> None:
    """With the real embedder Chinese questions, and English ones about Chinese, find the right passage."""
    questions = ("备份存放在哪里？", "外面的机器能连进来吗？", "How do I set a static address?")
    use = next(iter(openkimi_use.register_embedders()))
    async with open_component(use) as embedder, store(tmp_path, embedder) as retriever:
        document_id = await add(retriever, "\n\n".join(CHINESE))
        found = [await ask(retriever, question, document_id) for question in questions]

    assert [hits[0].chunk.ordinal for hits in found] == [2, 3, 4]


class SlowEmbedder(HashingEmbedder):
    """Takes two seconds for passages, none for a question."""

    async def embed(self, texts: Sequence[str], **options: Any) -> Any:
        await asyncio.sleep(0 if options.get("input_type") == "query" else 2)
        return await super().embed(texts, **options)


async def test_a_question_waits_for_vectors_where_its_words_tell_nothing(tmp_path: Path) -> None:
    """What quotes the text is answered at once; what is said in other words needs the meaning."""
    async with store(tmp_path, SlowEmbedder()) as retriever:
        document = await add(retriever, MANUAL)

        quoted = await ask(retriever, "Who keeps the backups written to tape each week in a vault?", document)
        early = await retriever.get(document)
        await ask(retriever, "¿Dónde se guardan las copias?", document)
        late = await retriever.get(document)

    assert quoted[0].chunk.ordinal == 5
    assert early is not None
    assert late is not None
    assert (early.state, late.state) == ("lexical", "ready")
