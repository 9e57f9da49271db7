"""What became of each question, and the tables made of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
from questions import Question


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a prompt of at most ``budget`` tokens of text held all that a question needs.

    ``milliseconds`` went by until the prompt reached the model, where that was measured.
    """

    method: str
    budget: int
    question: Question
    held: bool
    milliseconds: float | None = None


def recall(outcomes: Sequence[Outcome]) -> str:
    """Give the share of the questions whose evidence was there; a dash of none."""
    return f"{sum(each.held for each in outcomes) / len(outcomes):.2f}" if outcomes else "–"


def latency(outcomes: Sequence[Outcome]) -> str:
    """Give the median and the 95th percentile."""
    times = sorted(each.milliseconds for each in outcomes if each.milliseconds is not None)
    if not times:
        return "–"
    return f"{statistics.median(times):.0f}, {times[int(len(times) * 0.95)]:.0f}"


def table(
    outcomes: Sequence[Outcome],
    head: str,
    row: Callable[[Outcome], str],
    cell: Callable[[Sequence[Outcome]], str] = recall,
) -> str:
    """Make a Markdown table: a column for each budget, a row for each name that ``row`` gives."""
    budgets = sorted({each.budget for each in outcomes})
    lines = [_line([head, *(f"{budget:,}" for budget in budgets)]), "|---" * (len(budgets) + 1) + "|"]
    for name in dict.fromkeys(map(row, outcomes)):
        mine = [each for each in outcomes if row(each) == name]
        lines.append(_line([name, *(cell([e for e in mine if e.budget == budget]) for budget in budgets)]))
    return "\n".join(lines)


def beside(outcomes: Sequence[Outcome], method: str) -> Callable[[Sequence[Outcome]], str]:
    """Make a cell that also tells how many questions were won and lost against a method."""
    first = {(e.budget, e.question.id): e.held for e in outcomes if e.method == method}

    def cell(mine: Sequence[Outcome]) -> str:
        won = sum(each.held > first[each.budget, each.question.id] for each in mine)
        lost = sum(each.held < first[each.budget, each.question.id] for each in mine)
        return f"{recall(mine)} (+{won} −{lost})" if won or lost else recall(mine)

    return cell


def counted(questions: Iterable[Question], key: Callable[[Question], str]) -> Callable[[Outcome], str]:
    """Make row names with the number of questions behind each."""
    counts = Counter(map(key, questions))
    return lambda outcome: f"{key(outcome.question)} ({counts[key(outcome.question)]})"


def language(question: Question) -> str:
    """Name the language of the question and, where that is another, of the text."""
    if question.kind != "crosslingual":
        return question.lang
    return "across languages"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
