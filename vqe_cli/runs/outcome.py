"""What a run chose and what came of it, put together for people and for the report."""

from vqe_cli.restore.engine import Enhancer, Model
from vqe_cli.restore.stream import Tally
from vqe_cli.runs.report import Listener, Notice, Plan, Report, Seconds
from vqe_cli.runs.settings import Settings
from vqe_cli.video.frame import VideoInfo


class Notices:
    """Warnings of a run: each is told once, as soon as it is known, and kept for the report."""

    def __init__(self, listen: Listener) -> None:
        self.texts: list[str] = []
        self.listen = listen

    def add(self, *texts: str) -> None:
        """Tells those that are new."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
                self.listen(Notice(text))


def colour_warnings(info: VideoInfo) -> list[str]:
    """What had to be guessed of the input's colours."""
    if not info.colour.guessed:
        return []
    return [f"{info.path} does not tell its colour matrix; {info.colour.matrix} is assumed by its height"]


def plan_of(settings: Settings, info: VideoInfo, loaded: Model, engine: Enhancer) -> Plan:
    """What was chosen, for people and for the report."""
    sizes = engine.sizes
    return Plan(
        model=loaded.name,
        device=loaded.compute.name,
        precision=loaded.compute.precision,
        chunk=sizes.chunks.chunk,
        overlap=sizes.chunks.overlap,
        tiles=tuple((tiling.tile, tiling.overlap) for tiling in sizes.tilings),
        tta=max(stage.tta for stage in engine.stages),
        frames=frames_expected(settings, info),
        size_in=(info.width, info.height),
        size_out=(info.width * settings.scale, info.height * settings.scale),
    )


def frames_expected(settings: Settings, info: VideoInfo) -> int | None:
    """How many frames will come, by the header or else by duration and rate; None when neither is there."""
    total = info.frame_count
    if total is None and info.duration_s is not None and info.rate is not None:
        total = round(info.duration_s * info.rate)
    if total is not None:
        total = max(0, total - settings.start)
    if settings.frames is not None:
        total = settings.frames if total is None else min(total, settings.frames)
    return total


def report_of(
    settings: Settings,
    plan: Plan,
    loaded: Model,
    engine: Enhancer,
    tally: Tally,
    threads: tuple[float, float],
    wall_s: float,
    warnings: list[str],
) -> Report:
    """The report of a finished run; threads: working seconds of reader and writer."""
    by_number = dict.fromkeys((1, 2), 0.0)
    for stage, seconds in zip(engine.stages, engine.seconds, strict=True):
        by_number[stage.number] = round(by_number[stage.number] + seconds, 3)
    return Report(
        input=str(settings.input),
        output=str(settings.output),
        plan=plan,
        frames=tally.frames,
        seconds=Seconds(round(threads[0], 3), by_number[1], by_number[2], round(threads[1], 3)),
        wall_s=round(wall_s, 3),
        fps=round(tally.frames / wall_s, 3),
        weights=loaded.weights,
        pqf_source=tally.peaks.source(settings),
        pqf_count=tally.peaks.peaks,
        duplicates=tally.duplicates,
        scene_cuts=tally.scene_cuts,
        warnings=tuple(warnings),
    )
