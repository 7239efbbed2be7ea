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
from vqe_cli.restore.engine import Model, Planes
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.handover import Clock, background, prefetched
from vqe_cli.restore.outcome import Notices, colour_warnings, plan_of, report_of
from vqe_cli.restore.report import Listener, Progress, Report
from vqe_cli.restore.settings import Settings
from vqe_cli.restore.stream import Tally, enhanced_frames
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.sources import open_reader
from vqe_cli.video.writer import Writer

READ_AHEAD = 16
WRITE_AHEAD = 16


class Restorer:
    """Enhances any number of files: networks are loaded at the first of them and serve all.

    All settings given to one Restorer agree in all that concerns networks and devices.
    """

    def __init__(self) -> None:
        self._loaded: Model | None = None

    def enhance(self, settings: Settings, listen: Listener = lambda event: None) -> Report:
        """As `pipeline.enhance`."""

        def load(settings: Settings) -> Model:
            self._loaded = self._loaded or load_model(settings)
            return self._loaded

        return enhance(settings, listen, load)


def enhance(
    settings: Settings,
    listen: Listener = lambda event: None,
    load: Callable[[Settings], Model] | None = None,
) -> Report:
    """Enhance one input as the settings say; nothing is left under the output's name when it fails.

    listen: called in this thread with a Plan, then Progress and Notices. load: gives the networks, called
    once, when the input and the place of the output have been found to be in order.
    Raises VqeError for all that a user can cause; KeyboardInterrupt passes through after cleaning up.
    """
    began = time.perf_counter()
    decode, encode, tally = Clock(), Clock(), Tally()
    notices = Notices(listen)
    with ExitStack() as stack:
        reader = stack.enter_context(
            open_reader(settings.input, hm_log=settings.hm_log, start=settings.start, frames=settings.frames)
        )
        info = reader.info
        writer = stack.enter_context(finished_on(encode, open_writer(settings, info)))
        loaded = (load or load_model)(settings)
        engine = loaded.start(settings, info.colour, (info.height, info.width))
        plan = plan_of(settings, info, loaded, engine)
        listen(plan)
        notices.add(*colour_warnings(info))
        frames = stack.enter_context(prefetched(reader, READ_AHEAD, decode))
        write = stack.enter_context(background(written_by(writer), WRITE_AHEAD, encode))
        for frame, planes in enhanced_frames(frames, settings, engine, tally):
            write((frame, planes))
            tally.frames += 1
            listen(Progress(tally.frames, plan.frames))
        notices.add(*reader.warnings, *engine.warnings, *writer.warnings)
        if tally.frames == 0:
            raise VqeError(f"{settings.input} has no frames to enhance.", "Check --start and --frames.")
    wall = time.perf_counter() - began
    return report_of(
        settings, plan, loaded, engine, tally, (decode.seconds, encode.seconds), wall, notices.texts
    )


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
