"""Tables of what several paths are worth, against one path and against what stands in for documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import msgspec
from bootstrap import Gain, gain
from candidates import ABSENT, CLOSED, HEAD, ORACLE, Record
from replaying import Case, Outcome, best_of, computed, replay, replay_settling
from rounds import table
from scoring import Score, says_absent, units_of

from openkimi import Synthesizer

COUNTS = (2, 3, 4, 5)
SHOWN = 4
MEASURES = ("exact", "f1", "contained")
Groups = Mapping[str, Sequence[Case]]
Cell = Callable[[str], str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One synthesizer over so many paths of one sampler: its outcomes by question.

    ``settling`` is True where gate and early stop were on.
    """

    sampler: str
    synthesizer: str
    paths: int
    settling: bool
    outcomes: Mapping[str, Outcome]

    @property
    def name(self) -> str:
        return f"{self.sampler}, {self.synthesizer}"


async def run_all(cases: Sequence[Case], synthesizers: Mapping[str, Synthesizer]) -> list[Run]:
    """Replay every synthesizer over every sampler and number of paths; gate and early stop over four."""
    runs = []
    for sampler in samplers_of(cases):
        for name, synthesizer in synthesizers.items():
            for paths in COUNTS:
                for how in (replay, replay_settling) if paths == SHOWN else (replay,):
                    outcomes = {
                        case.question.id: await how(synthesizer, case, walked)
                        for case in cases
                        if (walked := case.walked(sampler, paths))
                    }
                    runs.append(
                        Run(
                            sampler=sampler,
                            synthesizer=name,
                            paths=paths,
                            settling=how is replay_settling,
                            outcomes=outcomes,
                        )
                    )
    return [run for run in runs if run.outcomes]


def samplers_of(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(sampler for case in cases for sampler in case.paths))


def groups_of(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Gather the questions by set and language, and all of them."""
    names = sorted({(case.set, case.question.lang) for case in cases})
    groups = {
        f"{set_} {lang}": [case for case in cases if (case.set, case.question.lang) == (set_, lang)]
        for set_, lang in names
    }
    return {**groups, "all": list(cases)}


def report(cases: Sequence[Case], runs: Sequence[Run]) -> str:
    """Write all tables in Markdown; the set of questions without an answer is in the last one only."""
    absent = "Answers that say that the document does not say it:", honesty(cases, runs)
    answerable = [case for case in cases if case.set != ABSENT]
    return "\n\n".join((*_parts(answerable, _only(runs, answerable)), *absent)) + "\n"


def _only(runs: Sequence[Run], cases: Sequence[Case]) -> list[Run]:
    ids = {case.question.id for case in cases}
    some = [
        msgspec.structs.replace(run, outcomes={id_: each for id_, each in run.outcomes.items() if id_ in ids})
        for run in runs
    ]
    return [run for run in some if run.outcomes]


def _parts(cases: Sequence[Case], runs: Sequence[Run]) -> list[str]:
    groups = groups_of(cases)
    counts = ", ".join(f"{name}: {len(some)}" for name, some in groups.items())
    parts = [f"Questions: {counts}.", levels(groups), variety(cases)]
    for measure in MEASURES:
        parts.append(f"Gain over one path, {measure}, in points (95 % interval):")
        parts += [gains_by_count(cases, runs, measure), gains_by_group(groups, runs, measure)]
    parts += ["What the paths cost, in times one path:", costs(cases)]
    parts += [f"{SHOWN} paths with gate and early stop:", settling(cases, runs)]
    parts += ["How many answers are right (contained), by how far the candidates agree:", sureness(runs)]
    return parts


def levels(groups: Groups) -> str:
    """Show exact match, F1 and contained of what does not depend on a synthesizer."""
    every = groups["all"]
    rows: list[tuple[str, Callable[[Case], Score | None]]] = [
        (name, _of_baseline(name)) for name in (CLOSED, HEAD)
    ]
    rows.append(("one path", lambda case: case.score(case.one.text)))
    for sampler in samplers_of(every):
        rows += [(f"best of {paths}, {sampler}", _of_best(sampler, paths)) for paths in (SHOWN, COUNTS[-1])]
    rows.append((ORACLE, _of_baseline(ORACLE)))

    def cell(score: Callable[[Case], Score | None]) -> Cell:
        return lambda name: _level([found for case in groups[name] if (found := score(case)) is not None])

    lines = [(name, cell(score)) for name, score in rows]
    lines.append((f"one path, F1 of the {ORACLE}'s", lambda name: _share(groups[name])))
    lines.append(("one path, all evidence in its prompt", lambda name: _evidence(groups[name])))
    return table("Exact / F1 / contained, per cent", list(groups), lines)


def _of_baseline(name: str) -> Callable[[Case], Score | None]:
    def score(case: Case) -> Score | None:
        record = case.baselines.get(name)
        return None if record is None else case.score(record.text)

    return score


def _of_best(sampler: str, paths: int) -> Callable[[Case], Score | None]:
    def score(case: Case) -> Score | None:
        walked = case.walked(sampler, paths)
        return best_of(case, walked) if walked else None

    return score


def _level(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    return " / ".join(f"{100 * fmean(getattr(each, name) for each in scores):.1f}" for name in MEASURES)


def _share(cases: Sequence[Case]) -> str:
    having = [case for case in cases if ORACLE in case.baselines]
    oracle = sum(case.score(case.baselines[ORACLE].text).f1 for case in having)
    return f"{100 * sum(case.score(case.one.text).f1 for case in having) / oracle:.0f} %" if oracle else ""


def _evidence(cases: Sequence[Case]) -> str:
    having = [case for case in cases if case.question.evidence]
    return _percent(fmean(case.reads_evidence(case.one) for case in having)) if having else ""


def variety(cases: Sequence[Case]) -> str:
    """Show how different the paths of each sampler are."""
    rows: list[tuple[str, Callable[[Case, Sequence[Record]], float]]] = [
        ("different prompts", lambda _, paths: len({each.prompt for each in paths})),
        ("different answers", lambda _, paths: len({tuple(units_of(each.text)) for each in paths})),
        ("all evidence in a prompt", lambda case, paths: fmean(map(case.reads_evidence, paths))),
        ("all evidence in one at least", lambda case, paths: any(map(case.reads_evidence, paths))),
        ("F1 of a path", lambda case, paths: fmean(case.score(each.text).f1 for each in paths)),
    ]

    def cell(row: Callable[[Case, Sequence[Record]], float]) -> Cell:
        def shown(sampler: str) -> str:
            found = [row(case, walked) for case in cases if (walked := case.walked(sampler, SHOWN))]
            return f"{fmean(found):.2f}" if found else ""

        return shown

    def count(sampler: str) -> str:
        return str(sum(bool(case.walked(sampler, SHOWN)) for case in cases))

    lines = [("questions", count), *((name, cell(row)) for name, row in rows)]
    return table(f"Of {SHOWN} paths, mean", samplers_of(cases), lines)


def gains_by_count(cases: Sequence[Case], runs: Sequence[Run], measure: str) -> str:
    def cell(name: str) -> Cell:
        def shown(column: str) -> str:
            found = [
                run for run in runs if run.name == name and str(run.paths) == column and not run.settling
            ]
            return points(gain_of(cases, found[0].outcomes, measure)) if found else ""

        return shown

    columns = [str(paths) for paths in COUNTS]
    return table("Paths, all questions", columns, [(name, cell(name)) for name in _names(runs)])


def gains_by_group(groups: Groups, runs: Sequence[Run], measure: str) -> str:
    shown = {run.name: run for run in runs if run.paths == SHOWN and not run.settling}

    def cell(run: Run) -> Cell:
        return lambda group: points(gain_of(groups[group], run.outcomes, measure))

    rows = [(name, cell(run)) for name, run in shown.items()]
    return table(f"{SHOWN} paths", [name for name in groups if name != "all"], rows)


def gain_of(cases: Sequence[Case], outcomes: Mapping[str, Outcome], measure: str) -> Gain | None:
    """Compare with one path on the questions that have an outcome."""
    mine = [case for case in cases if case.question.id in outcomes]
    if not mine:
        return None
    ours = [getattr(outcomes[case.question.id].score, measure) for case in mine]
    return gain(ours, [getattr(case.score(case.one.text), measure) for case in mine])


def costs(cases: Sequence[Case]) -> str:
    """Show seconds and computed tokens of so many paths, one after another, in times the first one's."""

    def cell(sampler: str) -> Cell:
        def shown(column: str) -> str:
            having = [walked for case in cases if (walked := case.walked(sampler, int(column)))]
            if not having:
                return ""
            seconds, tokens = _cost(having)
            once, computed_once = _cost([walked[:1] for walked in having])
            return f"{seconds / once:.2f} / {tokens / computed_once:.2f}"

        return shown

    samplers = samplers_of(cases)
    columns = [str(paths) for paths in COUNTS]
    one = _cost([[case.one] for case in cases])
    base = f"seconds / tokens; one path: {one[0]:.1f} s, {one[1]:.0f} tokens"
    return table(base, columns, [(sampler, cell(sampler)) for sampler in samplers])


def _cost(walks: Sequence[Sequence[Record]]) -> tuple[float, float]:
    seconds = fmean(sum(each.seconds for each in walked) for walked in walks)
    return seconds, fmean(sum(map(computed, walked)) for walked in walks)


def settling(cases: Sequence[Case], runs: Sequence[Run]) -> str:
    shown = {run.name: run for run in runs if run.settling}
    by_id = {case.question.id: case for case in cases}

    def cell(run: Run) -> Cell:
        outcomes = list(run.outcomes.values())
        firsts = [by_id[id_].paths[run.sampler][0] for id_ in run.outcomes]
        values = {
            "paths walked": f"{fmean(each.walked for each in outcomes):.2f}",
            "after the first": _percent(fmean(each.walked == 1 for each in outcomes)),
            "seconds": f"{sum(o.seconds for o in outcomes) / sum(r.seconds for r in firsts):.2f}",
            "tokens": f"{sum(o.tokens for o in outcomes) / sum(map(computed, firsts)):.2f}",
            "F1": points(gain_of(cases, run.outcomes, "f1")),
            "contained": points(gain_of(cases, run.outcomes, "contained")),
        }
        return lambda column: values[column]

    columns = ["paths walked", "after the first", "seconds", "tokens", "F1", "contained"]
    return table("In times one path; gains", columns, [(name, cell(run)) for name, run in shown.items()])


def sureness(runs: Sequence[Run]) -> str:
    """Show how often an answer is right where its candidates agree and where they do not."""
    shown = {run.name: run for run in runs if run.paths == SHOWN and not run.settling}
    bands = {"0.8 and more": (0.8, 1.1), "0.4 to 0.8": (0.4, 0.8), "less": (0.0, 0.4)}

    def cell(run: Run) -> Cell:
        def shown(band: str) -> str:
            low, high = bands[band]
            found = [
                o for o in run.outcomes.values() if o.agreement is not None and low <= o.agreement < high
            ]
            return f"{_percent(fmean(o.score.contained for o in found))} of {len(found)}" if found else ""

        return shown

    return table(f"{SHOWN} paths", list(bands), [(name, cell(run)) for name, run in shown.items()])


def honesty(cases: Sequence[Case], runs: Sequence[Run]) -> str:
    """Show how many say so rightly, on `absent` questions, and wrongly, on the others; and what has support.

    ``unsupported`` are the outcomes that the synthesizer called so; the last column counts the answers
    that it wanted the model to write.
    """
    columns = ["absent", "not absent", "unsupported: absent", "wrong", "right", "wanted to write"]
    one = {
        case.question.id: Outcome(
            text=case.one.text, score=case.score(case.one.text), walked=1, seconds=0, tokens=0
        )
        for case in cases
    }
    every = [("one path", one)]
    every += [
        (f"{run.name}, gate and early stop" if run.settling else run.name, dict(run.outcomes))
        for run in runs
        if run.paths == SHOWN
    ]

    def cell(outcomes: Mapping[str, Outcome]) -> Cell:
        mine = [(case, outcomes[case.question.id]) for case in cases if case.question.id in outcomes]
        absent = [each for case, each in mine if case.question.kind == "absent"]
        others = [each for case, each in mine if case.question.kind != "absent"]
        values = {
            "absent": _of(absent, lambda each: says_absent(each.text)),
            "not absent": _of(others, lambda each: says_absent(each.text)),
            "unsupported: absent": _of(absent, _unsupported),
            "wrong": _of([each for each in others if not each.score.contained], _unsupported),
            "right": _of([each for each in others if each.score.contained == 1], _unsupported),
            "wanted to write": str(sum(each.wrote for _, each in mine)),
        }
        return lambda column: values[column]

    return table(f"{SHOWN} paths", columns, [(name, cell(outcomes)) for name, outcomes in every])


def _unsupported(outcome: Outcome) -> bool:
    return outcome.supported is False


def _of(outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool]) -> str:
    return f"{sum(map(holds, outcomes))} of {len(outcomes)}" if outcomes else ""


def points(found: Gain | None) -> str:
    """Show a gain in points, in bold where its interval does not hold zero."""
    if found is None:
        return ""
    shown = f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return f"**{shown}**" if found.low > 0 or found.high < 0 else shown


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.name for run in runs))
