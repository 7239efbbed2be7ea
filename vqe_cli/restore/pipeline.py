"""A file to a better file: decode, mark peaks, find scenes, cut chunks, run the networks, encode; all at
once.

Three threads: the reader's, the caller's (marking and networks) and the writer's, with bounded queues in
between. Decoded frames held at a time, whatever the length of the video: READ_AHEAD + FRAMES_WAITING + 1
before the chunks, `chunks.frames_held(...)` in them, one chunk in the networks, WRITE_AHEAD enhanced ones
behind.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from vqe_cli.errors import VqeError
from vqe_cli.restore.engine import Enhancer, Model, Planes
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.handover import Clock, background, prefetched
from vqe_cli.restore.report import Listener, Notice, Plan, Progress, Report, Seconds
from vqe_cli.restore.settings import Settings
from vqe_cli.restore.stream import Tally, enhanced_frames
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.sources import open_reader
from vqe_cli.video.writer import Writer

READ_AHEAD = 16
WRITE_AHEAD = 16


def enhance(settings: Settings, listen: Listener = lambda event: None, loaded: Model | None = None) -> Report:
    """Enhance one input as the settings say; nothing is left under the output's name when it fails.

    listen: called in this thread with a Plan, then Progress and Notices. loaded: networks of an earlier run
    with the same model, device and precision.
    Raises VqeError for all that a user can cause; KeyboardInterrupt passes through after cleaning up.
    """
    began = time.perf_counter()
    decode, encode, tally = Clock(), Clock(), Tally()
    warnings: list[str] = []

    def warn(text: str) -> None:
        if text not in warnings:
            warnings.append(text)
            listen(Notice(text))

    with ExitStack() as stack:
        reader = stack.enter_context(
            open_reader(settings.input, hm_log=settings.hm_log, start=settings.start, frames=settings.frames)
        )
        info = reader.info
        writer = stack.enter_context(finished_on(encode, open_writer(settings, info)))
        loaded = loaded or load_model(settings)
        engine = loaded.start(settings, info.colour, (info.height, info.width))
        plan = plan_of(settings, info, loaded, engine)
        listen(plan)
        if info.colour.guessed:
            warn(
                f"{info.path} does not tell its colour matrix; {info.colour.matrix} is assumed by its height"
            )
        frames = stack.enter_context(prefetched(reader, READ_AHEAD, decode))
        write = stack.enter_context(background(written_by(writer), WRITE_AHEAD, encode))
        for frame, planes in enhanced_frames(frames, settings, engine, tally):
            write((frame, planes))
            tally.frames += 1
            listen(Progress(tally.frames, plan.frames))
        for text in [*reader.warnings, *engine.warnings, *writer.warnings]:
            warn(text)
        if tally.frames == 0:
            raise VqeError(f"{settings.input} has no frames to enhance.", "Check --start and --frames.")
    wall = time.perf_counter() - began
    return report_of(settings, plan, loaded, engine, tally, (decode.seconds, encode.seconds), wall, warnings)


def open_writer(settings: Settings, info: VideoInfo) -> Writer:
    """The writer that the settings ask for."""
    return Writer(
        settings.output,
        info,
        codec=settings.codec,
        crf=settings.crf,
        pix_fmt=settings.pix_fmt,
        options=dict(settings.encoder_options),
        scale=settings.scale,
        part=settings.start > 0 or settings.frames is not None,
        overwrite=settings.overwrite,
    )


def written_by(writer: Writer) -> Callable[[tuple[Frame, Planes]], None]:
    """What writes one enhanced frame."""

    def write(item: tuple[Frame, Planes]) -> None:
        frame, planes = item
        writer.write(planes, frame)

    return write


@contextmanager
def finished_on(clock: Clock, writer: Writer) -> Iterator[Writer]:
    """The writer; what it does at the end counts as encoding, too (encoders hold many pictures back)."""
    with ExitStack() as stack:
        yield stack.enter_context(writer)
        with clock.running():
            stack.close()


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
        tta=settings.tta,
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
