"""Whose turn it is, told with a clock of our own and without a model."""

from __future__ import annotations

from collections.abc import Callable

from openkimi_llama_cpp.turns import Turns

SLICE = 64
SECONDS_A_TOKEN_READ = 0.003
SECONDS_A_TOKEN_WRITTEN = 0.01


class Answer:
    """An answer to a prompt of ``unread`` tokens; ``seconds`` of the model's time were spent on it."""

    def __init__(self, share: str, unread: int, to_write: int) -> None:
        self.share = share
        self.unread = unread
        self.to_write = to_write
        self.written = 0
        self.seconds = 0.0

    @property
    def reading(self) -> bool:
        return self.unread > 0

    @property
    def done(self) -> bool:
        return not self.reading and self.written >= self.to_write


class Model:
    """Works on answers turn by turn; ``ended`` are those that are done, ``clock`` is the time."""

    def __init__(self, *, together: bool = False) -> None:
        self.turns = Turns(together=together)
        self.answers: list[Answer] = []
        self.ended: list[Answer] = []
        self.clock = 0.0

    def ask(self, share: str, *, read: int, write: int) -> Answer:
        answer = Answer(share, read, write)
        self.answers.append(answer)
        return answer

    def run(self, until: Callable[[], bool]) -> None:
        while not until() and (chosen := self.turns.next(self.answers)):
            if chosen[0].reading:
                self._read(chosen[0])
            else:
                self._write(chosen)
            self.ended += [answer for answer in chosen if answer.done]
            self.answers = [answer for answer in self.answers if not answer.done]

    def seconds(self, share: str) -> float:
        return sum(answer.seconds for answer in (*self.answers, *self.ended) if answer.share == share)

    def _read(self, answer: Answer) -> None:
        tokens = min(SLICE, answer.unread)
        answer.unread -= tokens
        self._pass([answer], tokens * SECONDS_A_TOKEN_READ)
        self.turns.read(answer, tokens, tokens * SECONDS_A_TOKEN_READ)

    def _write(self, answers: list[Answer]) -> None:
        for answer in answers:
            answer.written += 1
        self._pass(answers, SECONDS_A_TOKEN_WRITTEN)
        self.turns.wrote(answers, SECONDS_A_TOKEN_WRITTEN)

    def _pass(self, answers: list[Answer], seconds: float) -> None:
        self.clock += seconds
        for answer in answers:
            answer.seconds += seconds / len(answers)


def test_a_short_prompt_overtakes_a_long_one() -> None:
    """Of prompts that came at once the shorter is read first; equal ones keep their order."""
    model = Model()
    long = model.ask("a", read=2000, write=1)
    first, second = model.ask("b", read=300, write=1), model.ask("c", read=300, write=1)

    model.run(lambda: False)

    assert model.ended == [first, second, long]


def test_a_long_prompt_is_read_beside_any_number_of_short_ones() -> None:
    """Whoever comes again and again does not keep a long prompt from being read in its time."""
    model = Model()
    long = model.ask("a", read=2000, write=1)

    def next_one() -> bool:
        if not any(answer.share == "b" for answer in model.answers):
            model.ask("b", read=300, write=1)
        return long in model.ended

    model.run(next_one)

    assert model.clock < 2.2 * 2000 * SECONDS_A_TOKEN_READ


def test_prompts_and_answers_share_the_time() -> None:
    """While one prompt is read and one answer written, each has half of the time."""
    model = Model()
    reader = model.ask("a", read=4000, write=1)
    writer = model.ask("b", read=1, write=10_000)

    model.run(lambda: not reader.reading)

    assert abs(writer.seconds - reader.seconds) < 2 * SLICE * SECONDS_A_TOKEN_READ


def test_four_answers_of_one_request_read_as_one() -> None:
    """A prompt beside four equal ones of another request is read after one of those, not after all."""
    model = Model()
    four = [model.ask("a", read=1000, write=1) for _ in range(4)]
    single = model.ask("b", read=1000, write=1)

    model.run(lambda: False)

    assert model.ended[:2] == [four[0], single]
    assert model.ended[2:] == four[1:]


def test_four_answers_of_one_request_are_written_as_one() -> None:
    """An answer beside four of another request has half of the time, and these progress alike."""
    model = Model()
    four = [model.ask("a", read=0, write=100) for _ in range(4)]
    single = model.ask("b", read=0, write=100)

    model.run(lambda: single in model.ended)

    assert abs(model.seconds("a") - model.seconds("b")) <= 2 * SECONDS_A_TOKEN_WRITTEN
    assert {answer.written for answer in four} <= {24, 25, 26}


def test_a_request_that_reads_and_writes_has_one_share() -> None:
    """One of whose answers some are written while prompts of others are read gets as much as any other."""
    model = Model()
    model.ask("a", read=0, write=10_000)
    paths = [model.ask("a", read=3000, write=10_000) for _ in range(3)]
    model.ask("b", read=0, write=10_000)

    model.run(lambda: not paths[-1].reading)
    at_paths, at_single = model.seconds("a"), model.seconds("b")

    assert abs(at_paths - at_single) < 0.05 * model.clock


def test_requests_keep_their_share_whoever_comes_and_goes() -> None:
    """Beside a request of many answers, one after the other, single requests have half of the time."""
    model = Model()
    while model.clock < 60:
        shares = [answer.share for answer in model.answers]
        for _ in range(3 - shares.count("a")):
            model.ask("a", read=200, write=30)
        if not shares.count("b"):
            model.ask("b", read=200, write=30)
        seen = len(model.ended)
        model.run(lambda seen=seen: len(model.ended) > seen)

    assert abs(model.seconds("a") - model.seconds("b")) < 0.05 * model.clock


def test_who_comes_later_need_not_catch_up() -> None:
    """Of two that begin to write after a long time without answers, none waits for the other."""
    model = Model()
    first = model.ask("a", read=4000, write=1000)
    model.run(lambda: not first.reading)
    second = model.ask("b", read=1, write=1000)
    model.run(lambda: second.written >= 50)

    assert first.written <= 55


def test_in_one_step_all_answers_go_on() -> None:
    """Where a step writes a token of every answer, each has one, whatever request it is of."""
    model = Model(together=True)
    answers = [model.ask(share, read=0, write=10) for share in ("a", "a", "b")]

    model.run(lambda: False)

    assert model.ended == answers
    assert round(model.clock / SECONDS_A_TOKEN_WRITTEN) == 10
