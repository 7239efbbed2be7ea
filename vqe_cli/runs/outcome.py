"""What a run chose and what came of it, put together for people and for the report."""

from dataclasses import dataclass

from vqe_cli.restore.chunks import Tally
from vqe_cli.restore.engine import Enhancer, Model
from vqe_cli.runs.plan import Plan
from vqe_cli.runs.report import Listener, Notice, Report, Seconds


class Notices:
    """Warnings of a run: each is reported once, as soon as it is known, and kept for the report."""

    def __init__(self, listen: Listener) -> None:
        self.texts: list[str] = []
        self.listen = listen

    def add(self, *texts: str) -> None:
        """Tells those that are new."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
                self.listen(Notice(text))


@dataclass(frozen=True)
class Took:
    """Seconds of a run: what reader and writer worked, and what the clock showed."""

    decode: float
    encode: float
    wall: float


def report_of(
    plan: Plan, model: Model, engine: Enhancer, tally: Tally, took: Took, warnings: list[str]
) -> Report:
    """The report of a finished run."""
    by_number = dict.fromkeys((1, 2), 0.0)
    for stage, seconds in zip(engine.stages, engine.seconds, strict=True):
        by_number[stage.number] = round(by_number[stage.number] + seconds, 3)
    return Report(
        input=str(plan.source.path),
        output=str(plan.output.path),
        plan=plan.summary,
        frames=tally.frames,
        seconds=Seconds(round(took.decode, 3), by_number[1], by_number[2], round(took.encode, 3)),
        wall_s=round(took.wall, 3),
        fps=round(tally.frames / took.wall, 3),
        weights=model.weights,
        pqf_source=tally.peaks.source(plan.peaks),
        pqf_count=tally.peaks.peaks,
        duplicates=tally.duplicates,
        scene_cuts=tally.scene_cuts,
        warnings=tuple(warnings),
    )
