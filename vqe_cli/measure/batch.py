"""Many pairs of videos: which there are, and their comparison one after the other, past those that fail."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vqe_cli.errors import VqeError, unexpected
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.metrics import DEFAULT_METRICS
from vqe_cli.measure.pairing import Pair, folder_labels, pair_up
from vqe_cli.measure.result import EVERYTHING, Failure, Options, Outcome


@dataclass(frozen=True)
class Task:
    """A pair and the rate point that it belongs to ("" when there is one)."""

    label: str
    pair: Pair


def plan_tasks(
    gt: Path | None, preds: Sequence[Path], lqs: Sequence[Path]
) -> tuple[list[Task], list[Failure]]:
    """All pairs of all rate points, and a failure for each name without a partner.

    gt: None to compare outputs with their inputs alone. preds, lqs: one output and (if any) one input a rate
    point, in the same order. Raises VqeError when the numbers of outputs and inputs differ, and what
    `pair_up` raises.
    """
    if lqs and len(lqs) != len(preds):
        raise VqeError(
            f"There are {len(preds)} --pred and {len(lqs)} --lq.",
            "Give one --lq for each --pred, in the same order, or none.",
        )
    if gt is None and not lqs:
        raise VqeError(
            "There is nothing to compare the output with.", "Give the truth (--gt) or the input (--lq)."
        )
    labels = folder_labels(preds) if len(preds) > 1 else [""]
    tasks: list[Task] = []
    failures: list[Failure] = []
    for index, (label, pred) in enumerate(zip(labels, preds, strict=True)):
        pairing = pair_up(gt, pred, lqs[index] if lqs else None)
        # Of single files the rate points are files of any name; they are one video's.
        tasks += [
            Task(label, replace(pair, name=gt.stem) if label and gt is not None and gt.is_file() else pair)
            for pair in pairing.pairs
        ]
        failures += [
            Failure(
                name, VqeError(f"It has no partner in {where}.", "Names must agree up to the suffix."), label
            )
            for name, where in pairing.unpaired
        ]
    return tasks, failures


def compare_all(
    tasks: Sequence[Task],
    metrics: Sequence[str] = DEFAULT_METRICS,
    options: Options = EVERYTHING,
    progress: Callable[[Task, int], None] | None = None,
) -> Iterator[Outcome]:
    """Measure one pair after the other; progress is called with the pair and the frames read of it."""
    for task in tasks:
        pair = task.pair

        def report(count: int, task: Task = task) -> None:
            if progress is not None:
                progress(task, count)

        try:
            result = compare_pair(pair.gt, pair.pred, pair.lq, metrics, options, report)
            yield replace(result, name=pair.name, label=task.label)
        except Exception as error:  # whatever is wrong with a pair, the others are measured
            if len(tasks) == 1:
                raise
            yield Failure(pair.name, unexpected(error, "Measure this pair by itself"), task.label)
