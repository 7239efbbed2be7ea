"""A short video in one piece: decode, mark peaks, find scenes, cut chunks, run the networks, encode; all at
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
from vqe_cli.restore.engine import Model, Planes
from vqe_cli.restore.handover import READ_AHEAD, WRITE_AHEAD, Clock, background, prefetched
from vqe_cli.restore.stream import Tally, decided_chunks
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.outcome import Notices, plan_of, report_of
from vqe_cli.runs.report import Progress, Report
from vqe_cli.runs.settings import Settings
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.sources import FrameSource
from vqe_cli.video.unchanged import Unchanged
from vqe_cli.video.writer import Writer


def enhance_whole(
    settings: Settings,
    reader: FrameSource,
    load: Callable[[Settings], Model],
    notices: Notices,
    unchanged: Unchanged,
    began: float,
) -> Report:
    """Enhance an input that is open for probing; nothing is left under the output's name when it fails.

    load: gives the networks; it is called when the place of the output has been found to be in order.
    unchanged: the input, as it was before it was opened. began: when the run did, by `time.perf_counter`.
    """
    decode, encode, tally = Clock(), Clock(), Tally()
    info = reader.info
    with ExitStack() as stack:
        stack.enter_context(reader)
        writer = stack.enter_context(finished_on(encode, open_writer(settings, info, unchanged)))
        stack.enter_context(unchanged.explaining())
        model = load(settings)
        engine = model.start(settings, info.colour, (info.height, info.width))
        plan = plan_of(settings, info, model, engine)
        notices.listen(plan)
        frames = stack.enter_context(prefetched(measured(reader, info.colour), READ_AHEAD, decode))
        write = stack.enter_context(background(written_by(writer), WRITE_AHEAD, encode))
        for frame, planes in engine.enhanced(decided_chunks(frames, settings, engine.sizes, tally)):
            write((frame, planes))
            tally.frames += 1
            notices.listen(Progress(tally.frames, plan.frames))
        notices.add(*reader.warnings, *engine.warnings, *writer.warnings)
        if tally.frames == 0:
            raise VqeError(f"{settings.input} has no frames to enhance.", "Check --start and --frames.")
    notices.add(*writer.warnings)  # what came to light at the end
    wall = time.perf_counter() - began
    threads = (decode.seconds, encode.seconds)
    return report_of(settings, plan, model, engine, tally, threads, wall, notices.texts)


def open_writer(settings: Settings, info: VideoInfo, unchanged: Unchanged) -> Writer:
    """The writer that the settings ask for; its file gets its name where the input has not changed."""
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
        completed=lambda aside: unchanged.check(),
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
