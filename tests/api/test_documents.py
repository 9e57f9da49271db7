"""Documents over HTTP: stored in LanceDB, told apart by tenant, given back and deleted."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from filemaking import docx, pdf

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.testing import serving

FACT = "The lighthouse of Orrin belongs to Marta Veil, who painted it red."
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
ALICE, BOB = ({"Authorization": f"Bearer key-of-{name}-long-enough"} for name in ("alice", "bob"))
KEYS = [{"name": name, "key": f"key-of-{name}-long-enough"} for name in ("alice", "bob")]


@pytest.fixture
def running(tmp_path: Path, held: Any) -> Any:
    """Serve with the real memory: ``async with running(keys=True) as http``."""

    @asynccontextmanager
    async def start(
        server: dict[str, Any] | None = None, preload: tuple[str, ...] = (), **rag: Any
    ) -> AsyncIterator[aiohttp.ClientSession]:
        plugin = held(reply="It is so.", context_length=2048)
        engine = KimiEngine(
            plugins=[plugin],
            llm_config={"type": "held"},
            rag_config={"path": str(tmp_path / "lancedb"), **rag},
        )
        engine._overrides |= {"embedder": {"type": "held"}, "server": server or {}, "preload": preload}
        async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:
            http.backend = plugin.backend  # type: ignore[attr-defined]
            yield http

    return start


async def call(http: Any, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with http.request(method, path, **options) as response:
        is_json = response.headers["Content-Type"].startswith("application/json")
        return response.status, await (response.json() if is_json else response.text())


async def upload(http: Any, text: str = FACT, **options: Any) -> Any:
    status, stored = await call(http, "POST", "/v1/documents", json={"text": text}, **options)
    assert status == 200, stored
    return stored


def form(
    data: bytes, file_name: str, kind: str = "application/octet-stream", **fields: str
) -> aiohttp.FormData:
    made = aiohttp.FormData(quote_fields=False)
    for name, value in fields.items():
        made.add_field(name, value)
    made.add_field("file", data, filename=file_name, content_type=kind)
    return made


async def test_a_text_is_stored_and_told_about(running: Any) -> None:
    """The answer describes it, as the list and its own address do; its text comes back to the character."""
    async with running() as http:
        text = f"\N{BYTE ORDER MARK}  {FACT}\r\n\r\n灯塔 🙂 "
        status, stored = await call(http, "POST", "/v1/documents", json={"text": text, "name": "notes"})
        again = await call(http, "GET", f"/v1/documents/{stored['id']}")
        listed = await call(http, "GET", "/v1/documents")
        content = await call(http, "GET", f"/v1/documents/{stored['id']}/content")

    assert status == 200
    assert stored["id"].startswith("doc_")
    assert stored | {"created": 0} == {
        "id": stored["id"], "object": "document", "name": "notes", "state": "ready",
        "characters": len(text), "chunks": 1, "created": 0, "kept": True,
    }  # fmt: skip
    assert again == (200, stored)
    assert listed[1]["data"] == [stored]
    assert content == (200, text)


async def test_the_same_text_again_is_the_same_document(running: Any) -> None:
    """Uploading is idempotent in whatever shape; a later name counts, and none takes nothing away."""
    async with running() as http:
        first = await upload(http)
        named = await call(http, "POST", "/v1/documents", data=form(FACT.encode(), "灯塔.txt", "text/plain"))
        third = await upload(http)
        listed = await call(http, "GET", "/v1/documents")

    assert first["name"] is None
    assert named == (200, first | {"name": "灯塔.txt"})
    assert third == named[1]
    assert listed[1]["data"] == [third]


async def test_a_document_that_came_in_a_message_is_kept_when_it_is_uploaded(running: Any) -> None:
    """The list shows it unkept before and kept after."""
    book = f"{FACT}\n\n" + "\n\n".join(f"Paragraph {n} tells of the sea and of the wind." for n in range(400))
    body = {"messages": [{"role": "system", "content": book}, {"role": "user", "content": "Whose is it?"}]}
    async with running() as http:
        await call(http, "POST", "/v1/chat/completions", json=body)
        _, before = await call(http, "GET", "/v1/documents")
        _, text = await call(http, "GET", f"/v1/documents/{before['data'][0]['id']}/content")
        stored = await upload(http, text)
        _, after = await call(http, "GET", "/v1/documents")

    assert [document["kept"] for document in before["data"]] == [False]
    assert [document["kept"] for document in after["data"]] == [True]
    assert stored["id"] == before["data"][0]["id"]
    assert text in book


@pytest.mark.parametrize(
    ("data", "name", "kind", "expected"),
    [
        (
            pdf([(20, 72, 700, "Title"), (12, 72, 670, FACT)]),
            "a.pdf",
            "application/pdf",
            f"# Title\n\n{FACT}\n",
        ),
        (docx(("heading 1", "Title"), ("", FACT)), "a.docx", DOCX, f"# Title\n\n{FACT}\n"),
        (f"<h1>Title</h1><p>{FACT}".encode(), "a.html", "text/html", f"# Title\n\n{FACT}\n"),
        (f"# Title\n\n{FACT}".encode(), "a.md", "text/markdown", f"# Title\n\n{FACT}"),
        ("灯塔属于玛塔·维尔。".encode("gb18030"), "a.txt", "text/plain", "灯塔属于玛塔·维尔。"),
        ("灯塔属于玛塔·维尔。".encode("gb18030"), "a.txt", "text/plain; charset=GBK", "灯塔属于玛塔·维尔。"),
    ],
    ids=["pdf", "docx", "html", "markdown", "gb18030", "gbk"],
)
async def test_files_come_as_forms_and_as_they_are(
    data: bytes, name: str, kind: str, expected: str, running: Any
) -> None:
    """A file in a form, one without its type, and one that is the body itself are the same document."""
    async with running() as http:
        answers = [
            await call(http, "POST", "/v1/documents", data=form(data, f"C:\\books\\{name}", kind)),
            await call(http, "POST", "/v1/documents", data=form(data, name, purpose="assistants")),
            await call(http, "POST", f"/v1/documents?name={name}", data=data, headers={"Content-Type": kind}),
        ]
        content = await call(http, "GET", f"/v1/documents/{answers[0][1]['id']}/content")

    assert answers[0] == answers[1] == answers[2]
    assert answers[0][1]["name"] == name
    assert content == (200, expected)


async def test_a_files_name_may_be_percent_encoded(running: Any) -> None:
    """Some clients send it so, as RFC 7578 has it; folders are no part of it."""
    sent = aiohttp.FormData()
    sent.add_field("file", FACT.encode(), filename="C:\\books\\灯塔 100%.txt")
    async with running() as http:
        _, stored = await call(http, "POST", "/v1/documents", data=sent)

    assert stored["name"] == "灯塔 100%.txt"


async def test_a_name_of_ones_own_beats_the_files(running: Any) -> None:
    """The field ``name`` of a form counts more than its file's name, and loses its control characters."""
    async with running() as http:
        _, stored = await call(
            http, "POST", "/v1/documents", data=form(FACT.encode(), "a.txt", name="The\x07 tower\n")
        )

    assert stored["name"] == "The  tower"


async def test_json_may_come_without_its_type_and_compressed(running: Any) -> None:
    """What ``curl -d`` sends is read, and so is a gzipped body."""
    body = b'{"text": "Short."}'
    async with running() as http:
        plain = await call(
            http, "POST", "/v1/documents", data=body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        packed = await call(
            http, "POST", "/v1/documents", data=gzip.compress(body),
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )  # fmt: skip

    assert plain == packed
    assert plain[0] == 200


@pytest.mark.parametrize(
    ("kind", "data", "status", "code", "message"),
    [
        ("application/json", b'{"text": " "}', 400, "invalid_value", "'text': there is none in it"),
        ("application/json", b"{}", 400, "missing_required_parameter", "'text' is required"),
        ("application/json", b'{"text": 5}', 400, "invalid_value", "'text': expected a string"),
        ("application/json", b'{"text": "x", "name": "%s"}' % (b"n" * 256), 400, "invalid_value", "'name'"),
        ("application/json", b"[]", 400, "invalid_value", "the body: expected an object, got an array"),
        ("application/x-www-form-urlencoded", b"[]", 400, "invalid_json", "a JSON object with a 'text'"),
        ("application/x-www-form-urlencoded", b"%PDF-1.7", 400, "invalid_json", "a file needs its type"),
        ("text/plain", b"", 400, "invalid_value", "the body is empty"),
        ("text/plain", b" \n ", 400, "unreadable_file", "has no text"),
        ("text/plain; charset=no-such", b"x", 400, "unreadable_file", "'no-such' is not known"),
        ("application/pdf", pdf([(12, 9, 9, "x")], encrypted=True), 400, "unreadable_file", "encrypted"),
        ("application/pdf", pdf([]), 400, "unreadable_file", "only pictures"),
        ("application/pdf", b"no PDF", 400, "unreadable_file", "damaged"),
        (DOCX, docx(("", "x"), extra=2**29), 400, "unreadable_file", "unpacks to more than"),
        ("application/octet-stream", b"\0\1", 415, "unsupported_file", "is not read here"),
        ("image/png", b"\x89PNG", 415, "unsupported_media_type", "the type 'image/png'"),
        ("multipart/form-data", b"x", 400, "invalid_form", "no boundary"),
        ("multipart/form-data; boundary=b", b"x", 400, "invalid_form", "the form cannot be read"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "missing_required_parameter", "'file'"),
        ("text/plain", b"x" * 1_040_000, 413, "request_too_large", "server.max_body_size"),
    ],
)
async def test_what_cannot_be_stored_is_told(
    kind: str, data: bytes, status: int, code: str, message: str, running: Any
) -> None:
    """Each refusal has OpenAI's shape and says what is wrong; nothing is stored."""
    async with running({"max_body_size": "1MB"}) as http:
        answer = await call(http, "POST", "/v1/documents", data=data, headers={"Content-Type": kind})
        listed = await call(http, "GET", "/v1/documents")

    assert (answer[0], answer[1]["error"]["code"]) == (status, code)
    assert message in answer[1]["error"]["message"]
    assert listed[1]["data"] == []


async def test_a_page_of_another_origin_uploads_only_where_it_is_allowed(running: Any) -> None:
    """What a browser sends without asking is taken from the gateway's own origin and the allowed ones."""
    text = {"Content-Type": "text/plain"}
    async with running({"cors_origins": ["https://ours.example"]}) as http:
        own = str(http._base_url).rstrip("/")
        statuses = [
            (await call(http, "POST", "/v1/documents", data=b"x", headers={**text, "Origin": origin}))[0]
            for origin in (own, "https://ours.example", "https://other.example", "null")
        ]
        asked = {"Content-Type": "text/markdown", "Origin": "https://other.example"}
        statuses.append((await call(http, "POST", "/v1/documents", data=b"x", headers=asked))[0])

    assert statuses == [200, 200, 415, 415, 200]


async def test_documents_are_listed_in_pages(running: Any) -> None:
    """``limit`` and ``after`` walk through the list, oldest first; wrong ones are named."""
    async with running() as http:
        ids = [(await upload(http, f"Text {number}."))["id"] for number in range(3)]
        _, page = await call(http, "GET", "/v1/documents?limit=2")
        _, rest = await call(http, "GET", f"/v1/documents?limit=2&after={page['last_id']}")
        wrong = [
            await call(http, "GET", f"/v1/documents?{query}") for query in ("limit=0", "limit=x", "after=x")
        ]

    assert [document["id"] for document in page["data"]] == ids[:2]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)
    assert ([document["id"] for document in rest["data"]], rest["has_more"]) == (ids[2:], False)
    assert [(status, body["error"]["param"]) for status, body in wrong] == [
        (400, "limit"), (400, "limit"), (404, "after"),
    ]  # fmt: skip


async def test_options_names_all_methods_of_an_address(running: Any) -> None:
    """So does the refusal of another method."""
    wanted = {"/v1/documents": "GET, OPTIONS, POST", "/v1/documents/doc_1": "DELETE, GET, OPTIONS"}
    async with running() as http:
        for path, methods in wanted.items():
            async with http.options(path) as asked, http.put(path) as refused:
                assert (asked.status, asked.headers["Allow"]) == (204, methods)
                assert refused.status == 405
                assert set(refused.headers["Allow"].split(", ")) == set(methods.split(", "))


async def test_a_question_names_an_uploaded_document(running: Any) -> None:
    """Its passages reach the model, and the receipt's offsets lead into the content that was stored."""
    book = "\n\n".join([*(f"Paragraph {n} tells of the sea." for n in range(500)), FACT])
    async with running() as http:
        stored = await upload(http, book)
        body = {
            "messages": [{"role": "user", "content": "Who owns the lighthouse of Orrin?"}],
            "openkimi": {"documents": [stored["id"]]},
        }
        status, answer = await call(http, "POST", "/v1/chat/completions", json=body)
        _, content = await call(http, "GET", f"/v1/documents/{stored['id']}/content")

    passages = answer["openkimi"]["passages"]
    assert status == 200
    assert any(FACT in content[passage["start"] : passage["end"]] for passage in passages)


async def test_a_deleted_document_is_gone(running: Any) -> None:
    """It answers as OpenAI's files do; then every address of it is a 404, and a question cannot name it."""
    async with running() as http:
        stored = await upload(http)
        address = f"/v1/documents/{stored['id']}"
        deleted = await call(http, "DELETE", address)
        gone = [await call(http, *asked) for asked in
                (("DELETE", address), ("GET", address), ("GET", f"{address}/content"))]  # fmt: skip
        asking = {"messages": [{"role": "user", "content": "?"}], "openkimi": {"documents": [stored["id"]]}}
        gone.append(await call(http, "POST", "/v1/chat/completions", json=asking))
        listed = await call(http, "GET", "/v1/documents")
        again = await upload(http)

    assert deleted == (200, {"id": stored["id"], "object": "document.deleted", "deleted": True})
    assert {(status, body["error"]["code"], body["error"]["type"]) for status, body in gone} == {
        (404, "document_not_found", "not_found_error")
    }
    assert listed[1]["data"] == []
    assert again["id"] == stored["id"]


async def test_tenants_have_documents_of_their_own(running: Any) -> None:
    """A foreign document does not exist; deleting one's own leaves the other's of the same text."""
    async with running({"api_keys": KEYS}) as http:
        stored = await upload(http, headers=ALICE)
        address = f"/v1/documents/{stored['id']}"
        foreign = [
            (await call(http, method, path, headers=BOB))[0]
            for method, path in (("GET", address), ("GET", f"{address}/content"), ("DELETE", address))
        ]
        keyless = (await call(http, "POST", "/v1/documents", json={"text": FACT}))[0]
        await upload(http, headers=BOB)
        deleted = await call(http, "DELETE", address, headers=BOB)
        of_alice = await call(http, "GET", f"{address}/content", headers=ALICE)
        of_bob = await call(http, "GET", "/v1/documents", headers=BOB)

    assert foreign == [404, 404, 404]
    assert keyless == 401
    assert deleted[0] == 200
    assert of_alice == (200, FACT)
    assert of_bob[1]["data"] == []


async def test_a_document_without_room_is_refused(running: Any) -> None:
    """Where those that are kept fill the store, another one is a 507, and deleting makes room."""
    book = "\n\n".join(f"Paragraph {n} tells of the sea, {n * n} times." for n in range(5000))
    async with running(max_size="600KB") as http:
        first = await upload(http, book)
        refused = await call(http, "POST", "/v1/documents", json={"text": f"{FACT} {book}"})
        await call(http, "DELETE", f"/v1/documents/{first['id']}")
        await upload(http, f"{FACT} {book}")

    assert (refused[0], refused[1]["error"]["code"]) == (507, "storage_full")


async def test_rate_limits_count_uploads(running: Any) -> None:
    """An upload is a request like any other."""
    async with running({"rate_limit": {"requests_per_minute": 1}}) as http:
        await upload(http)
        status, body = await call(http, "POST", "/v1/documents", json={"text": FACT})

    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_preloaded_files_are_listed_and_stay(running: Any, tmp_path: Path) -> None:
    """A PDF is preloaded under its name, for every key; a key deletes its own copy of it only."""
    (tmp_path / "tower.pdf").write_bytes(pdf([(12, 72, 700, FACT)]))
    async with running({"api_keys": KEYS}, preload=(str(tmp_path / "*.pdf"),)) as http:
        _, listed = await call(http, "GET", "/v1/documents", headers=ALICE)
        [document] = listed["data"]
        address = f"/v1/documents/{document['id']}"
        content = await call(http, "GET", f"{address}/content", headers=BOB)
        refused = await call(http, "DELETE", address, headers=ALICE)
        copy = await upload(http, f"{FACT}\n", headers=ALICE)
        deleted = await call(http, "DELETE", address, headers=ALICE)
        left = await call(http, "GET", address, headers=ALICE)

    assert (document["name"], document["kept"]) == ("tower.pdf", True)
    assert content == (200, f"{FACT}\n")
    assert (refused[0], refused[1]["error"]["code"]) == (403, "document_preloaded")
    assert "'preload'" in refused[1]["error"]["message"]
    assert copy["id"] == document["id"]
    assert deleted[0] == 200
    assert left == (200, document)


async def test_deleting_what_a_request_uses_harms_nobody(running: Any) -> None:
    """Questions that are under way while their document is deleted end well, or say that it is gone."""
    book = "\n\n".join([*(f"Paragraph {n} tells of the sea." for n in range(500)), FACT])
    asked = {"messages": [{"role": "user", "content": "Who owns the lighthouse?"}]}
    sent = {"messages": [{"role": "system", "content": book}, *asked["messages"]]}
    async with running() as http:
        results = []
        for _ in range(3):
            stored = await upload(http, book)
            named = {**asked, "openkimi": {"documents": [stored["id"]]}}
            work = [call(http, "POST", "/v1/chat/completions", json=body) for body in (named, sent) * 3]
            work.append(call(http, "DELETE", f"/v1/documents/{stored['id']}"))
            results += await asyncio.gather(*work)

    for status, body in results:
        assert status == 200 or body["error"]["code"] == "document_not_found", body


async def test_a_client_that_leaves_ends_the_conversion(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the file any more: it is not stored."""
    from openkimi.files import converting

    began, ended = asyncio.Event(), asyncio.Event()

    async def convert(*given: object) -> str:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return "never"

    monkeypatch.setattr(converting, "_convert", convert)
    async with running() as http:
        task = asyncio.create_task(
            call(http, "POST", "/v1/documents", data=b"%PDF-", headers={"Content-Type": "application/pdf"})
        )
        await began.wait()
        task.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        listed = await call(http, "GET", "/v1/documents")

    assert listed[1]["data"] == []
