"""Results as rows: for people (a summary and a table of quality over time), as CSV, Markdown and JSON."""

import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vqe_cli.measure.bdrate import CurveResult
from vqe_cli.measure.metrics import METRICS
from vqe_cli.measure.result import Failure, Gain, Outcome, PairResult, Series, gain_of, mean_of
from vqe_cli.measure.sets import SET_METRICS, Distance
from vqe_cli.text import printable

NOT_APPLICABLE = "n/a"
GAIN, GAIN_OF_FALLING = "gain", "gain ↓"  # headings of columns; of the second less is better


def gained(column: str, cell: str) -> bool | None:
    """Whether a cell says that a metric got better (True) or worse; None where it says neither."""
    if column not in (GAIN, GAIN_OF_FALLING) or cell[:1] not in ("+", "-") or not cell.strip("+-0."):
        return None
    return (cell[0] == "+") == (column == GAIN)


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is the name. last_is_mean: means at the end, to be set apart.

    notes: lines that stand below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    last_is_mean: bool = False
    notes: tuple[str, ...] = ()


def summary(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> Table:
    """One row a video: each metric's mean over frames, with the gain over the input where there is one.

    Metrics that judge a picture by itself are shown of the input, too.
    """
    measured = [outcome for outcome in outcomes if isinstance(outcome, PairResult)]
    gaining = {name for name in metrics if any(each.before(name) is not None for each in measured)}
    columns = ["video", "frames"]
    for name in metrics:
        columns += [_heading(name), *([_gain_heading(name)] if name in gaining else [])]
    rows = []
    for outcome in outcomes:
        cells = [title(outcome)]
        if isinstance(outcome, Failure):
            rows.append((*cells, "failed", *[""] * (len(columns) - 2)))
            continue
        cells.append(str(len(outcome.frames)))
        for name in metrics:
            before = outcome.before(name) if METRICS[name].alone else None
            cells.append(_change(before.mean if before else None, outcome.output[name].mean, name))
            if name in gaining:
                cells.append(signed(_gain_value(outcome, name), name))
        rows.append(tuple(cells))
    rows += [_mean_row(label, group, metrics, gaining) for label, group in _groups(outcomes)]
    said = "Change from the input" if blind(outcomes) else "Quality against the truth"
    heading = f"{said}, mean over frames"
    return Table(heading, tuple(columns), tuple(rows), last_is_mean=True, notes=_sources(outcomes, metrics))


def _sources(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> tuple[str, ...]:
    """A line for each metric that other software computed: which, and its model."""
    measured = [outcome for outcome in outcomes if isinstance(outcome, PairResult)]
    found = dict.fromkeys((name, each.output[name].source) for name in metrics for each in measured)
    return tuple(f"{name.upper()}: {printable(source)}" for name, source in found if source)


def shown_over_time(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[str]:
    """The metrics that have a table over time: the first, and all whose low frames matter as much.

    Without a truth also those that judge a picture by itself.
    """
    also = {name for name in metrics if METRICS[name].harmonic or (METRICS[name].alone and blind(outcomes))}
    return [name for index, name in enumerate(metrics) if index == 0 or name in also]


def blind(outcomes: Sequence[Outcome]) -> bool:
    """Whether outputs were compared with their inputs, without a truth."""
    return any(isinstance(outcome, PairResult) and outcome.gt is None for outcome in outcomes)


def over_time(outcomes: Sequence[Outcome], metric: str) -> Table:
    """One row a video: worst and best frame, lows, and how much the metric fluctuates (input → output)."""
    columns = ["video", "worst (frame)", "1 % low", "10 % low", "best (frame)", "deviation", "peak-valley"]
    if blind(outcomes) and not METRICS[metric].alone:
        columns[1], columns[4] = "most changed (frame)", "least changed (frame)"
    if METRICS[metric].harmonic:
        columns.insert(1, "harmonic mean")
    rows = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            continue
        output = outcome.output[metric]
        given = outcome.before(metric)
        cells = [
            title(outcome),
            _frame(output.worst, metric),
            number(output.low(1), metric),
            number(output.low(10), metric),
            _frame(output.best, metric),
            _change(given.deviation if given else None, output.deviation, metric),
            _change(given.peak_valley if given else None, output.peak_valley, metric),
        ]
        if METRICS[metric].harmonic:
            cells.insert(1, _change(given.harmonic_mean if given else None, output.harmonic_mean, metric))
        rows.append(tuple(cells))
    return Table(f"{_heading(metric)} over time", tuple(columns), tuple(rows))


def curve_table(curves: Sequence[CurveResult]) -> Table:
    """BD-rate and BD-quality of the output against the input, a row for each video and metric."""
    rows = tuple(
        (
            printable(curve.name),
            curve.metric,
            NOT_APPLICABLE if curve.rate_percent is None else f"{curve.rate_percent:+.2f} %",
            signed(curve.quality, curve.metric),
        )
        for curve in curves
    )
    return Table("Bjøntegaard deltas over the input", ("video", "metric", "BD-rate", "BD-quality"), rows)


def distance_table(found: Sequence[Distance]) -> Table:
    """Distances between the sets of all frames, a row for each rate point and metric; lower is better."""
    rows = tuple(
        (
            each.metric.upper() + (f" ({printable(each.label)})" if each.label else ""),
            str(each.count),
            *(NOT_APPLICABLE if value is None else f"{value:.5g}" for value in (each.output, each.given)),
        )
        for each in found
    )
    notes = tuple(
        f"{each.metric.upper()}: {SET_METRICS[each.metric].about}, {printable(each.source)}" for each in found
    )
    columns = ("distance ↓", "pictures or clips", "output", "input")
    return Table("Distance from the truth's set of frames", columns, rows, notes=tuple(dict.fromkeys(notes)))


def to_markdown(table: Table) -> str:
    """A Markdown table under its title, with numbers to the right."""
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.columns)} |"]
    lines.append("| --- |" + " ---: |" * (len(table.columns) - 1))
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table.rows]
    lines += [line for note in table.notes for line in ("", note)]
    return "\n".join(lines) + "\n"


def to_csv(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> str:
    """One line for each video and metric, in full precision; failed videos say why in `error`.

    What is infinite is left empty; `identical` and its like count the frames that equal the truth.
    """
    target = io.StringIO()
    fields = ["label", "video", "metric", "frames", "mean", "input_mean", "gain", *STATISTICS]
    fields += ["identical", "input_identical", *GAIN_COUNTS, "source", "error"]
    writer = csv.DictWriter(target, fields, lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        row: dict[str, Any] = {"label": printable(outcome.label), "video": printable(outcome.name)}
        if isinstance(outcome, Failure):
            writer.writerow(row | {"error": str(outcome.error)})
            continue
        for name in metrics:
            measured = {"metric": name, "frames": len(outcome.frames), **_facts(outcome.output[name])}
            measured["source"] = printable(outcome.output[name].source)
            given = outcome.before(name)
            if given is not None:
                measured |= {"input_mean": plain(given.mean), "input_identical": given.identical}
                measured |= _gain_facts(outcome, name)
            writer.writerow(row | measured)
    for label, group in _groups(outcomes):
        for name in metrics:
            facts = _mean_facts(group, name)
            mean = {key: facts[key] for key in ("mean", "input_mean", "gain")}
            row = {"label": printable(label), "video": "mean", "metric": name, "frames": len(group)}
            writer.writerow(row | mean)
    return target.getvalue()


GAIN_COUNTS = ("gain_frames", "became_identical", "ceased_identical")
STATISTICS = (
    "harmonic_mean",
    "deviation",
    "peak_valley",
    "low_1_percent",
    "low_10_percent",
    "worst",
    "worst_frame",
    "best",
    "best_frame",
)


def to_json(
    outcomes: Sequence[Outcome],
    metrics: Sequence[str],
    curves: Sequence[CurveResult],
    found: Sequence[Distance] = (),
) -> dict[str, Any]:
    """One document with everything, every frame's values too.

    A value that is infinite because pictures equal the truth is null; `identical` counts such frames and
    `identical_frames` lists them.
    """
    means = [
        {
            "label": label,
            "videos": len(group),
            "metrics": {name: _mean_facts(group, name) for name in metrics},
        }
        for label, group in _groups(outcomes)
    ]
    bd = [
        {
            "video": c.name,
            "metric": c.metric,
            "bd_rate_percent": c.rate_percent,
            "bd_quality": c.quality,
            "note": c.note,
        }
        for c in curves
    ]
    videos = [_video(outcome, metrics) for outcome in outcomes]
    return {"videos": videos, "mean": means, "bjontegaard": bd, "sets": [asdict(each) for each in found]}


def _video(outcome: Outcome, metrics: Sequence[str]) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"label": outcome.label, "name": outcome.name, "error": str(outcome.error)}
    measured: dict[str, dict[str, Any]] = {}
    for name in metrics:
        measured[name] = _facts(outcome.output[name]) | _frame_facts(outcome.output[name])
        measured[name]["source"] = outcome.output[name].source or None
        given = outcome.before(name)
        if given is not None:
            measured[name] |= {**_gain_facts(outcome, name), "input": _facts(given) | _frame_facts(given)}
    return {
        "label": outcome.label,
        "name": outcome.name,
        "gt": str(outcome.gt) if outcome.gt is not None else None,
        "pred": str(outcome.pred),
        "lq": str(outcome.lq) if outcome.lq is not None else None,
        "width": outcome.size[0],
        "height": outcome.size[1],
        "matrix": outcome.matrix,
        "frames": list(outcome.frames),
        "qp": list(outcome.qp),
        "pqf": list(outcome.pqf),
        "seconds": round(outcome.seconds, 3),
        "warnings": list(outcome.warnings),
        "metrics": measured,
    }


def _facts(series: Series) -> dict[str, float | int | None]:
    worst, best = series.worst or (None, None), series.best or (None, None)
    lows = (series.low(1), series.low(10))
    values = (
        series.harmonic_mean,
        series.deviation,
        series.peak_valley,
        *lows,
        worst[1],
        worst[0],
        best[1],
        best[0],
    )
    facts = {"mean": series.mean, **dict(zip(STATISTICS, values, strict=True)), "identical": series.identical}
    return {key: plain(value) for key, value in facts.items()}


def _frame_facts(series: Series) -> dict[str, Any]:
    return {
        "per_frame": [plain(value) for value in series.values],
        "identical_frames": list(series.identical_frames),
    }


def _gain_facts(result: PairResult, name: str) -> dict[str, float | int | None]:
    """The gain, over how many frames, and how many others equal the truth in the output or input alone."""
    found = _gain(result, name)
    if found is None:
        return {}
    counts = (found.frames, found.became, found.ceased)
    return {"gain": plain(found.value), **dict(zip(GAIN_COUNTS, counts, strict=True))}


def _mean_facts(group: Sequence[PairResult], name: str) -> dict[str, float | int | None]:
    """Means over videos and of how many they are: infinite ones are left out."""
    values = {
        "mean": [result.output[name].mean for result in group],
        "input_mean": [given.mean for result in group if (given := result.before(name)) is not None],
        "gain": [_gain_value(result, name) for result in group],
    }
    means = {key: plain(mean_of(each)) for key, each in values.items()}
    counts = {
        f"{key}_videos": sum(plain(value) is not None for value in each) for key, each in values.items()
    }
    return {**means, **counts}


def plain(value: float | int | None) -> float | int | None:
    """A number as JSON can hold it: None where it is infinite or none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None, metric: str) -> str:
    """A value as tables show it."""
    if value is None:
        return NOT_APPLICABLE
    return "inf" if math.isinf(value) else f"{value:.{METRICS[metric].decimals}f}"


def signed(value: float | None, metric: str) -> str:
    """A difference as tables show it, always with its sign."""
    if value is None:
        return NOT_APPLICABLE
    return f"{value:+.{METRICS[metric].decimals}f}"


def title(outcome: Outcome) -> str:
    """The video's name as it is shown, with its rate point in front where there are several."""
    return printable(f"{outcome.label}/{outcome.name}" if outcome.label else outcome.name)


def brief(outcome: Outcome, metric: str) -> str:
    """One line about one video while the others are still measured."""
    if isinstance(outcome, Failure):
        return f"{title(outcome)}: failed"
    change = _gain_value(outcome, metric)
    given = outcome.before(metric)
    before = given.mean if given is not None else None
    shown = f"{METRICS[metric].name} {_change(before, outcome.output[metric].mean, metric)}"
    if change is not None:
        shown += f" ({signed(change, metric)})"
    return f"{title(outcome)}: {len(outcome.frames)} frames, {shown}"


def _groups(outcomes: Sequence[Outcome]) -> list[tuple[str, list[PairResult]]]:
    """The measured videos by rate point, in order; points without any are left out."""
    groups: dict[str, list[PairResult]] = {}
    for outcome in outcomes:
        if isinstance(outcome, PairResult):
            groups.setdefault(outcome.label, []).append(outcome)
    return list(groups.items())


def _mean_row(
    label: str, group: Sequence[PairResult], metrics: Sequence[str], gaining: Collection[str]
) -> tuple[str, ...]:
    cells = [f"mean of {len(group)}" + (f" ({printable(label)})" if label else ""), ""]
    for name in metrics:
        means = [result.output[name].mean for result in group]
        cells.append(number(mean_of(means), name) + _share(means))
        if name in gaining:
            gains = [_gain_value(result, name) for result in group]
            cells.append(signed(mean_of(gains), name) + _share(gains))
    return tuple(cells)


def _share(values: Sequence[float | None]) -> str:
    """How many of the values a mean is of, where infinite ones are left out."""
    left_out = sum(value is not None and math.isinf(value) for value in values)
    return f" (of {len(values) - left_out})" if 0 < left_out < len(values) and None not in values else ""


def _gain(result: PairResult, name: str) -> Gain | None:
    given = result.before(name)
    return gain_of(result.output[name], given) if given is not None else None


def _gain_value(result: PairResult, name: str) -> float | None:
    found = _gain(result, name)
    return None if found is None else found.value


def _heading(name: str) -> str:
    unit = METRICS[name].unit
    return f"{name.upper()} {unit}".strip() + ("" if METRICS[name].rising else " ↓")


def _gain_heading(name: str) -> str:
    return GAIN if METRICS[name].rising else GAIN_OF_FALLING


def _frame(extreme: tuple[int, float] | None, metric: str) -> str:
    return NOT_APPLICABLE if extreme is None else f"{number(extreme[1], metric)} ({extreme[0]})"


def _change(before: float | None, after: float | None, metric: str) -> str:
    shown = number(after, metric)
    return shown if before is None else f"{number(before, metric)} → {shown}"
