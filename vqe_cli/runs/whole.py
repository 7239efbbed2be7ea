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
from vqe_cli.pipeline_threads import READ_AHEAD, WRITE_AHEAD, Stopwatch, background, prefetched
from vqe_cli.restore.choices import NetworkChoice
from vqe_cli.restore.chunks import Tally, decided_chunks
from vqe_cli.restore.engine import Model, Planes
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.outcome import Notices, Took, report_of
from vqe_cli.runs.plan import Plan
from vqe_cli.runs.report import Progress, Report
from vqe_cli.video.frame import Frame
from vqe_cli.video.sources import Unchanged
from vqe_cli.video.writer import Writer


def enhance_whole(
    plan: Plan, load: Callable[[NetworkChoice], Model], notices: Notices, unchanged: Unchanged, began: float
) -> Report:
    """Enhance an input in one piece; nothing is left under the output's name when it fails.

    load: gives the networks; it is called when the place of the output has been found to be in order.
    unchanged: the input, as it was before it was opened. began: when the run did, by `time.perf_counter`.
    """
    decode, encode, tally = Stopwatch(), Stopwatch(), Tally()
    with ExitStack() as stack:
        reader = stack.enter_context(plan.source.open())
        # The file gets its name where the input has not changed.
        output = plan.output.writer(plan.info, lambda aside: unchanged.check())
        writer = stack.enter_context(finished_on(encode, output))
        stack.enter_context(unchanged.explaining())
        model = load(plan.networks)
        engine = plan.start(model)
        notices.listen(plan.summary)
        frames = stack.enter_context(prefetched(measured(reader, plan.info.colour), READ_AHEAD, decode))
        write = stack.enter_context(background(written_by(writer), WRITE_AHEAD, encode))
        for frame, planes in engine.enhanced(decided_chunks(frames, plan.peaks, engine.sizes.chunks, tally)):
            write((frame, planes))
            tally.frames += 1
            notices.listen(Progress(tally.frames, plan.summary.frames))
        notices.add(*reader.warnings, *engine.warnings, *writer.warnings)
        if tally.frames == 0:
            raise VqeError(f"{plan.source.path} has no frames to enhance.", "Check --start and --frames.")
    notices.add(*writer.warnings)  # what came to light at the end
    took = Took(decode.seconds, encode.seconds, time.perf_counter() - began)
    return report_of(plan, model, engine, tally, took, notices.texts)


def written_by(writer: Writer) -> Callable[[tuple[Frame, Planes]], None]:
    """What writes one enhanced frame."""

    def write(item: tuple[Frame, Planes]) -> None:
        frame, planes = item
        writer.write(planes, frame)

    return write


@contextmanager
def finished_on(clock: Stopwatch, writer: Writer) -> Iterator[Writer]:
    """The writer; what it does at the end counts as encoding, too (encoders hold many pictures back)."""
    with ExitStack() as stack:
        yield stack.enter_context(writer)
        with clock.running():
            stack.close()
