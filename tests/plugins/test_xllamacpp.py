"""What is particular to the backend over llama.cpp's server engine."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from openkimi import BackendError, BackendUnavailable, ConfigError, GenerateRequest, Message, PluginError
from openkimi.options import convert_options
from openkimi.testing.opening import open_component
from openkimi_gguf import room
from openkimi_gguf.dialect import HERMES, LLAMA
from openkimi_gguf.form import Form
from openkimi_gguf.models import resolve
from openkimi_xllamacpp import register_backends
from openkimi_xllamacpp.answer import Answer
from openkimi_xllamacpp.backend import XllamacppBackend
from openkimi_xllamacpp.client import failure
from openkimi_xllamacpp.events import Alternative, Event, Probability, events
from openkimi_xllamacpp.options import XllamacppOptions, check
from openkimi_xllamacpp.payload import Prompt, payload_for
from openkimi_xllamacpp.process import EngineFailed, explained
from openkimi_xllamacpp.settings import settings_for
from openkimi_xllamacpp.slots import Slots
from openkimi_xllamacpp.vocabulary import infill_of, markers_of

model = pytest.mark.model


def checked(**options: Any) -> None:
    check(convert_options(options, XllamacppOptions, where="llm"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_path": "no/such.gguf"}, "there is no file 'no/such.gguf'"),
        ({"model_path": "smollm2-135m-instrct"}, "did you mean 'smollm2-135m-instruct'"),
        ({"load_in_8bit": True}, "Q8_0"),
        ({"load_in_4bit": True}, "Q4_K_M"),
        ({"device": "cpu", "n_gpu_layers": 4}, "llm.n_gpu_layers"),
        ({"context_length": 100}, "llm.context_length: expected int >= 256"),
        ({"parallel": 0}, "llm.parallel: expected int >= 1"),
        ({"cache_ram": "much"}, "llm.cache_ram"),
        ({"api_key": "x"}, "llm.api_key: unknown option"),
        ({"flash_attn": False, "type_v": "q8_0"}, "llm.type_v"),
    ],
)
def test_what_cannot_work_is_one_line(options: dict[str, Any], said: str) -> None:
    """Each wrong option is one line that names it and what to do."""
    with pytest.raises(ConfigError) as raised:
        checked(**options)

    assert said in raised.value.message
    assert raised.value.message.startswith("llm.")
    assert "\n" not in raised.value.message


def test_a_missing_library_names_its_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without xllamacpp the error is one line with the command that mends it."""
    monkeypatch.setattr(
        "openkimi_xllamacpp.options.find_spec",
        lambda name: None if name == "xllamacpp" else importlib.util.find_spec(name),
    )

    with pytest.raises(PluginError, match=r"pip install 'openkimi\[xllamacpp\]'"):
        checked()


def test_registering_loads_nothing_heavy() -> None:
    """Listing the plugin and checking its options imports neither an engine nor a template engine."""
    code = (
        "import sys; from openkimi_xllamacpp import register_backends; [p] = register_backends();"
        "p.check(p.config());"
        "print(sorted({'xllamacpp', 'llama_cpp', 'jinja2', 'aiohttp'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_options_are_those_of_the_other_engine() -> None:
    """What both engines have is called the same and means the same: one word of the config chooses."""
    from openkimi_llama_cpp.options import LlamaCppOptions

    ours, theirs = (
        msgspec.json.schema(options)["$defs"][options.__name__]["properties"]
        for options in (XllamacppOptions, LlamaCppOptions)
    )

    both = ours.keys() & theirs.keys()
    assert both >= {"model_path", "context_length", "device", "n_gpu_layers", "threads", "type_k", "top_k"}
    assert all(option.get("description") for option in ours.values())
    assert {name: ours[name].get("default") for name in both} == {
        name: theirs[name].get("default") for name in both
    }


@pytest.mark.parametrize(
    ("options", "layers"),
    [({}, -1), ({"n_gpu_layers": -1}, -2), ({"n_gpu_layers": 7}, 7), ({"device": "cpu"}, 0)],
)
def test_layers_on_the_gpu(options: dict[str, Any], layers: int) -> None:
    """By default as many layers as fit go onto a GPU, -1 means all, and a CPU takes none."""
    settings = settings_for(Path("m.gguf"), Path("s.sock"), {}, XllamacppOptions(**options))

    assert settings.n_gpu_layers == layers


def test_each_slot_has_a_whole_window() -> None:
    """The window is what the model was trained for, at most 8192, for each slot; more is warned of."""
    metadata = {"general.architecture": "llama", "llama.context_length": 2048}

    def settings(**options: Any) -> tuple[int, int]:
        made = settings_for(Path("m.gguf"), Path("s.sock"), metadata, XllamacppOptions(**options))
        return made.window, made.n_ctx

    with capture_logs() as lines:
        assert settings(parallel=3) == (2048, 3 * 2048)
        assert not lines
        assert settings(parallel=1, context_length=4096) == (4096, 4096)
    assert lines[0]["event"] == "context_longer_than_trained"


def test_special_tokens_are_found_in_the_file() -> None:
    """Control tokens are markers, and tags that the template uses; plain words and unused tags are not."""
    metadata = {
        "general.name": "Phi-3 mini",
        "tokenizer.ggml.tokens": ["<s>", "hello", "<|im_end|>", "<tool>", "<other>", "[INST]"],
        "tokenizer.ggml.token_type": [3, 1, 1, 4, 4, 4],
        "tokenizer.chat_template": "[INST]{{ m }}<tool>",
    }

    assert markers_of(metadata).ids == {0, 2, 3, 5}


def test_markers_of_filling_in() -> None:
    """A model's tokens for filling in are those its file names, or known ones; most models have none."""
    tokens = ["a", "<P>", "<S>", "<M>"]
    named = {"fim_pre": 1, "fim_suf": 2, "fim_mid": 3}
    keys = {f"tokenizer.ggml.{name}_token_id": token for name, token in named.items()}
    known = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]

    assert infill_of({"tokenizer.ggml.tokens": tokens, **keys}) == ("<P>", "<S>", "<M>")
    assert infill_of({"tokenizer.ggml.tokens": known}) == tuple(known)
    assert infill_of({"tokenizer.ggml.tokens": tokens}) is None


def test_a_seed_reads_the_whole_prompt() -> None:
    """What a request asks is written in the engine's words; with a seed nothing is reused."""
    asked = GenerateRequest(messages=(), seed=-1, max_tokens=5, temperature=0.0, logit_bias={7: -1.0})
    body = payload_for(Prompt([1, 2], ("x", "")), asked, XllamacppOptions())

    assert (body["seed"], body["cache_prompt"], body["n_predict"]) == (0xFFFFFFFE, False, 5)
    assert (body["top_k"], body["logit_bias"], body["stop"]) == (1, [[7, -1.0]], ["x"])
    assert not body.keys() & {"n_probs", "grammar"}


async def test_a_request_with_many_answers_lets_others_in() -> None:
    """A slot that becomes free goes to a request that has none; who gives up in the queue holds nothing."""
    slots, order = Slots(2), list[str]()

    async def answer_of(share: str | None, name: str) -> None:
        async with slots.slot(share):
            order.append(name)
            await asyncio.sleep(0)

    names = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("a", "a4"), ("b", "b1"), (None, "c1")]
    tasks = [asyncio.create_task(answer_of(share, name)) for share, name in names]
    leaver = asyncio.create_task(answer_of("d", "d1"))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(*tasks)

    assert order == ["a1", "a2", "b1", "a3", "c1", "a4"]
    async with asyncio.timeout(1), slots.slot("e"), slots.slot("e"):
        pass


async def chunked(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_events_are_cut_anywhere(size: int) -> None:
    """Events come in pieces of any size; comments between them say nothing."""
    data = 'data: {"content":"é"}\n\n: ping\n\ndata: {"stop":true,"stop_type":"eos"}\n\n'.encode()

    found = [event async for event in events(chunked(data, size))]

    assert found == [Event(content="é"), Event(stop=True, stop_type="eos")]


async def test_an_unknown_event_is_an_error_of_ours() -> None:
    """An event of another shape is an error that says so."""
    with pytest.raises(BackendError, match="cannot be read"):
        [event async for event in events(chunked(b'data: {"content":1}\n\n', 99))]


def test_calls_are_told_from_text() -> None:
    """Calls come as calls, text before them as text; a stop sequence ends the text and looks at no call."""
    form = Form(dialect=HERMES, names=("f",))
    call = '<tool_call>{"name": "f", "arguments": {"a": "END"}}</tool_call>'

    def said(text: str, stop_type: str = "eos") -> tuple[str, str, str | None]:
        answer = Answer(form=form, stop=("END",))
        steps = [answer.delta(Event(content=character)) for character in text]
        deltas = [*steps, None if answer.over else answer.delta(Event(stop=True, stop_type=stop_type))]
        made = [delta for delta in deltas if delta is not None]
        calls = "".join(piece.arguments for delta in made for piece in delta.tool_calls)
        return "".join(delta.content for delta in made), calls, made[-1].finish_reason

    assert said(f"Well. {call}") == ("Well.", '{"a": "END"}', "tool_calls")
    assert said(call[:-16], "limit") == ("", '{"a": "EN', "length")
    assert said("Well, that is the EN") == ("Well, that is the EN", "", "stop")
    answer = Answer(form=form, stop=("END",))
    assert answer.delta(Event(content="Well. END", tokens_predicted=3)) is not None
    assert (answer.over, answer.complete) == (True, False)


def test_a_grammar_begins_with_a_call() -> None:
    """What a model may say before a call is held by nothing, a call is; and a dialect's tags are shown."""

    def held(form: Form) -> dict[str, Any]:
        body = payload_for(Prompt([1], ("x",), form), GenerateRequest(messages=()), XllamacppOptions())
        names = ("grammar", "grammar_lazy", "grammar_triggers", "preserved_tokens", "stop")
        return {name: body[name] for name in names if name in body}

    lazy = held(Form(grammar="g", lazy=True, dialect=HERMES, names=("f",)))
    assert lazy["grammar_triggers"] == [{"type": 1, "value": "<tool_call>"}]
    assert lazy["preserved_tokens"] == HERMES.specials
    assert (lazy["grammar"], lazy["grammar_lazy"], lazy["stop"]) == ("g", True, [])
    assert held(Form(grammar="g", lazy=True, dialect=LLAMA)) == {"stop": []}
    assert held(Form(grammar="g")) == {"grammar": "g", "stop": ["x"]}


def test_probabilities_come_with_their_text() -> None:
    """A token's probability waits until its text is shown; one of a stop sequence never comes."""
    answer = Answer(top_logprobs=1)

    def step(content: str, token: str, **last: Any) -> list[str]:
        likely = (Alternative(token=token, bytes=(1,), logprob=None), Alternative())
        chosen = Probability(token=token, bytes=(1,), logprob=-0.5, top_logprobs=likely)
        delta = answer.delta(Event(content=content, completion_probabilities=(chosen,), **last))
        assert delta is None or all(token.top_logprobs[0].logprob == -9999.0 for token in delta.logprobs)
        return [] if delta is None else [token.token for token in delta.logprobs]

    assert step("He", "He") == ["He"]
    assert step("", " EN") == []
    assert step(" ENd", "d") == [" EN", "d"]
    assert step("", " EN") == []
    assert step("", "D", stop=True, stop_type="word") == []
    assert answer.complete


@pytest.mark.parametrize(
    ("message", "type", "status", "error"),
    [
        ("too long", "exceed_context_size_error", 400, "ContextOverflow"),
        (
            "Failed to initialize samplers: failed to parse grammar",
            "invalid_request_error",
            400,
            "GrammarRefused",
        ),
        ("Loading model", "unavailable_error", 503, "BackendUnavailable"),
        ("", "", 500, "BackendError"),
    ],
)
def test_what_the_engine_refuses(message: str, type: str, status: int, error: str) -> None:
    """Each refusal of the engine is an error of ours in one line."""
    made = failure(message, type, status)

    assert made.__class__.__name__ == error
    assert "\n" not in made.message


@pytest.fixture(scope="session")
def model_file() -> Path:
    return resolve("smollm2-135m-instruct")


@pytest.fixture
async def backend(model_file: Path) -> AsyncIterator[XllamacppBackend]:
    [provider] = register_backends()
    async with open_component(provider, model_path=str(model_file), parallel=2) as backend:
        assert isinstance(backend, XllamacppBackend)
        yield backend


def request(text: str, **settings: object) -> GenerateRequest:
    asked = {"max_tokens": 12, "temperature": 0.0, **settings}
    return GenerateRequest(messages=(Message(role="user", content=text),), **asked)


async def answer(backend: XllamacppBackend, asked: GenerateRequest) -> str:
    async with aclosing(backend.generate(asked)) as deltas:
        return "".join([delta.content async for delta in deltas])


def pid_of(backend: XllamacppBackend) -> int:
    process = backend._engine._process._process
    assert process is not None
    return process.pid


@model
async def test_no_port_is_bound(backend: XllamacppBackend) -> None:
    """The engine listens on a socket in a folder that only this user may enter, and on no port."""
    if not sys.platform.startswith("linux"):
        pytest.skip("/proc is not here")
    held, listening = _sockets(Path(f"/proc/{pid_of(backend)}"))

    assert backend._engine.socket.parent.stat().st_mode & 0o777 == 0o700
    assert held
    assert not held & listening


def _sockets(process: Path) -> tuple[set[str], set[str]]:
    """List the sockets that a process holds, and those that listen on a port."""
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in (process / "net" / name).read_text().splitlines()[1:]
    ]
    links = [str(path.readlink()) for path in (process / "fd").iterdir()]
    held = {link[len("socket:[") : -1] for link in links if link.startswith("socket:")}
    return held, {row[9] for row in rows if row[3] == "0A"}


@model
async def test_two_write_at_once_and_the_third_waits(backend: XllamacppBackend) -> None:
    """As many answers as there are slots progress together; the next begins when one of them ends."""
    streams = [backend.generate(request(f"Tell story {number}.", max_tokens=3000)) for number in range(2)]
    for stream in streams:
        await anext(stream)
    third = asyncio.create_task(answer(backend, request("Repeat the word volcano.")))
    for stream in streams:
        await anext(stream)
    await asyncio.sleep(0.3)
    waited = not third.done()
    busy = await backend._client.busy()

    await streams[0].aclose()

    assert waited
    assert busy == backend.concurrency == 2
    assert "volcano" in (await asyncio.wait_for(third, 30)).lower()
    await streams[1].aclose()
    assert await backend._client.busy() == 0


@model
async def test_a_closed_stream_leaves_its_slot_idle(backend: XllamacppBackend, speech: str) -> None:
    """When a stream has been closed the engine works on it no more, whether it read or wrote."""
    writing = backend.generate(request("Tell a very long story.", max_tokens=4000))
    await anext(writing)
    await writing.aclose()
    assert await backend._client.busy() == 0

    reading = asyncio.create_task(answer(backend, request(speech[:20_000])))
    while not await backend._client.busy():
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert await backend._client.busy() == 0


@model
async def test_an_engine_that_died_is_started_again(backend: XllamacppBackend) -> None:
    """When the engine dies its answers fail, and the next request finds another one."""
    running = backend.generate(request("Tell a very long story.", max_tokens=4000))
    await anext(running)
    first = pid_of(backend)

    os.kill(first, signal.SIGKILL)
    with pytest.raises(BackendUnavailable):
        async for _ in running:
            pass

    assert "volcano" in (await answer(backend, request("Repeat the word volcano."))).lower()
    assert pid_of(backend) != first


@model
async def test_the_engine_goes_with_the_gateway(model_file: Path) -> None:
    """A gateway that is killed takes its engine along."""
    code = f"""
import asyncio
from openkimi.testing import open_component
from openkimi_xllamacpp import register_backends
async def main():
    [provider] = register_backends()
    async with open_component(provider, model_path={str(model_file)!r}) as backend:
        print("engine", backend._engine._process._process.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    engine = await asyncio.to_thread(_kill_the_gateway, code)

    deadline = time.monotonic() + 10
    while _runs(engine) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not _runs(engine)


def _kill_the_gateway(code: str) -> int:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as gateway:
        assert gateway.stdout is not None
        said = next(line for line in gateway.stdout if line.startswith(b"engine "))
        gateway.kill()
    return int(said.split()[1])


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@model
async def test_ctrl_c_is_the_gateways(backend: XllamacppBackend) -> None:
    """A signal of the terminal reaches the gateway alone, which ends the engine in its own time."""
    assert os.getpgid(pid_of(backend)) != os.getpgid(0)


@model
async def test_a_gpu_that_is_not_there_is_named(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for CUDA where this wheel sees no GPU says where to get one."""
    import xllamacpp

    kinds = {device["type"].name for device in xllamacpp.get_device_info()}
    if kinds - {"GGML_BACKEND_DEVICE_TYPE_CPU", "GGML_BACKEND_DEVICE_TYPE_ACCEL"}:
        pytest.skip("there is a GPU")
    monkeypatch.setattr("openkimi_xllamacpp.options.sys.platform", "linux")
    [provider] = register_backends()

    with pytest.raises(ConfigError, match=r"llm\.device.*github\.com/xorbitsai/xllamacpp"):
        async with open_component(provider, model_path=str(model_file), device="cuda"):
            pass


@model
async def test_a_window_that_nothing_holds(model_file: Path) -> None:
    """A window beyond all numbers is one line about the window, before any memory is asked for."""
    [provider] = register_backends()
    options = {"model_path": str(model_file), "context_length": 50_000_000, "parallel": 64}

    with capture_logs(), pytest.raises(ConfigError, match=r"llm\.context_length.*memory"):
        async with open_component(provider, **options):
            pass


@model
async def test_a_cache_that_does_not_fit_is_refused(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory does not suffice and no GPU is there, the error says which options to set to what."""
    monkeypatch.setattr(room, "available_memory", lambda: 200 << 20)
    monkeypatch.setattr(room, "free_swap", lambda: 0)
    [provider] = register_backends()

    with pytest.raises(ConfigError) as raised:
        async with open_component(provider, model_path=str(model_file), device="cpu"):
            pass

    assert raised.value.message == (
        "llm.context_length: the cache of 8192 tokens for each of 4 answers at once takes 720 MiB of memory, "
        "and 200 MiB are free; set llm.context_length to 2048 or less or set llm.parallel to 1 or less"
    )


@model
async def test_weights_larger_than_memory_are_no_error(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that does not fit is read from the file again and again: there is a warning, and it answers."""
    monkeypatch.setattr(room, "available_memory", lambda: 64 << 20)
    [provider] = register_backends()
    options = {"model_path": str(model_file), "context_length": 512, "parallel": 2, "device": "cpu"}

    with capture_logs() as logs:
        async with open_component(provider, **options) as backend:
            assert isinstance(backend, XllamacppBackend)
            assert "volcano" in (await answer(backend, request("Repeat the word volcano."))).lower()

    assert "memory_is_short" in [line["event"] for line in logs]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("context", "llm.context_length: no 4 contexts of 8192 tokens"),
        ("device", "llm.device: the installed xllamacpp sees no GPU"),
        ("memory", "llm.context_length: too much"),
        ("model", "llm.model_path: 'm.gguf' is damaged or of a kind llama.cpp cannot read: why"),
        ("died", "llm.model_path: the engine why while it loaded 'm.gguf'"),
    ],
)
def test_why_no_engine_came_up(kind: str, said: str) -> None:
    """Each reason why the engine did not come up is a line about the option that mends it."""
    tight = room.Room(weights=1, cache=1, free=0, refusal="llm.context_length: too much")
    settings = settings_for(Path("m.gguf"), Path("s.sock"), {}, XllamacppOptions(), tight)

    assert explained(EngineFailed(kind, "why"), settings).startswith(said)


@model
async def test_opening_can_be_cancelled(model_file: Path) -> None:
    """An engine that nobody waits for any more is ended, and its folder removed."""
    [provider] = register_backends()

    async def open_it() -> None:
        async with open_component(provider, model_path=str(model_file)):
            pass

    opening = asyncio.create_task(open_it())
    await asyncio.sleep(0.25)
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
