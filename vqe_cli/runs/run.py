"""A file to a better file: the run is planned; then the video is enhanced, whole or in segments.

In one piece, three threads work at once: the reader's, the caller's (marking and networks) and the writer's,
with bounded queues in between. Decoded frames held at a time, whatever the length of the video: READ_AHEAD +
FRAMES_WAITING + 1 before the chunks, `chunks.frames_held(...)` in them, one chunk in the networks,
WRITE_AHEAD enhanced ones behind.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from vqe_cli.ensemble.fitting import ClipErrors, clip_errors, truth_side
from vqe_cli.errors import VqeError
from vqe_cli.pipeline_threads import READ_AHEAD, WRITE_AHEAD, Stopwatch, background, prefetched
from vqe_cli.restore.choices import NetworkChoice
from vqe_cli.restore.chunks import Tally, decided_chunks
from vqe_cli.restore.device import choose
from vqe_cli.restore.engine import Model, Planes
from vqe_cli.restore.ensemble import LoadedEnsemble, load_model
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.journal import Journal, claimed, forget, is_begun, left_over, work_folder
from vqe_cli.runs.plan import Input, Plan, peaks_of, plan
from vqe_cli.runs.ray_workers import RayWorkers
from vqe_cli.runs.report import Listener, Notices, Progress, Report, Took
from vqe_cli.runs.segmented import Run
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.workers import LocalWorkers, WorkerPool
from vqe_cli.video.frame import Frame
from vqe_cli.video.pipes import STDIN, STDOUT, standard_input
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import target_of
from vqe_cli.video.writer import Writer

Load = Callable[[NetworkChoice], Model]


class Restorer:
    """Enhances any number of files: `with Restorer() as restorer: restorer.enhance(settings)`.

    Networks are loaded, or worker processes started, at the first file and serve all. All settings given to
    one Restorer agree in all that concerns networks, devices and workers. `enhance` may be called from as
    many threads at the same time as there are workers.
    """

    def __init__(self) -> None:
        self._model: Model | None = None
        self._pool: WorkerPool | None = None
        self._stack = ExitStack()
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def enhance(self, settings: Settings, listen: Listener = lambda event: None) -> Report:
        """As `runs.run.enhance`."""
        with self._starting:
            if self._pool is None and has_workers(settings) and not settings.is_piped:
                pool = new_workers(settings)
                self._stack.enter_context(pool)
                self._pool = pool
        return enhance(settings, listen, self._load, self._pool)

    def _load(self, networks: NetworkChoice) -> Model:
        self._model = self._model or load_model(networks)
        return self._model


def has_workers(settings: Settings) -> bool:
    """Whether the settings ask for more than this process."""
    return settings.cluster is not None or settings.processes > 1


def new_workers(settings: Settings) -> WorkerPool:
    """The workers that the settings ask for; raises VqeError for a device or a cluster that is not there."""
    if settings.cluster is not None:
        return RayWorkers(settings.cluster, settings.networks, settings.cluster_ship)
    devices = settings.devices
    for device in devices:
        choose(device, settings.precision, settings.engine)
    return LocalWorkers([devices[number % len(devices)] for number in range(settings.processes)])


def enhance(
    settings: Settings,
    listen: Listener = lambda event: None,
    load: Load | None = None,
    pool: WorkerPool | None = None,
) -> Report:
    """Enhance one input as the settings say; nothing but a complete file is ever under the output's name.

    A long input is enhanced in segments: what is finished when the run ends early is kept in the work folder
    beside the output, and the next run with the same settings goes on there.

    listen: called in this thread with a Summary, then Progress and Notices. load: gives the networks, called
    once, when the input and the place of the output have been found to be in order. pool: makes the segments
    in place of this process.
    Raises VqeError for all that a user can cause; KeyboardInterrupt passes through after cleaning up.
    """
    began = time.perf_counter()
    notices = Notices(listen)
    finished = None
    if settings.output != STDOUT:
        finished = left_over(work_folder(target_of(settings.output).path), settings.output)
    if finished is not None:
        notices.add(f"{settings.output} was complete already; only its work folder was left")
        return finished
    input = Input(settings)
    planned = plan(settings, input=input)
    notices.add(*planned.warnings)
    if settings.output == STDOUT:
        return enhance_whole(planned, input, notices, load or load_model, began)
    folder = planned.folder
    with claimed(folder, settings.output):
        if planned.division.restart:
            forget(folder)
        if planned.division.possible and (planned.division.wanted or pool is not None):
            return in_segments(planned, input, notices, load or load_model, pool, began)
        if is_begun(folder):
            raise VqeError(
                f"{folder} holds an unfinished run with other settings.",
                "Give the old settings again, or begin anew with --restart.",
            )
        return enhance_whole(planned, input, notices, load or load_model, began)


def in_segments(
    planned: Plan, input: Input, notices: Notices, load: Load, pool: WorkerPool | None, began: float
) -> Report:
    """The run in segments, made by this process or by workers."""
    model = load(planned.networks) if pool is None else load_model(planned.networks, empty=True)
    journal = Journal(planned.folder, planned.fingerprint)
    notices.listen(planned.summary)
    return Run(planned, input, journal, model, notices, began).complete(pool)


def enhance_whole(plan: Plan, input: Input, notices: Notices, load: Load, began: float) -> Report:
    """Enhance an input in one piece; nothing is left under the output's name when it fails.

    load: gives the networks; it is called when the place of the output has been found to be in order.
    began: when the run did, by `time.perf_counter`.
    """
    decode, encode, tally = Stopwatch(), Stopwatch(), Tally()
    with ExitStack() as stack:
        reader = stack.enter_context(input.reader)
        # The file gets its name where the input has not changed.
        output = plan.writer(lambda aside: input.unchanged.check())
        writer = stack.enter_context(finished_on(encode, output))
        stack.enter_context(input.unchanged.explaining())
        if plan.source.path == STDIN:
            standard_input().drop_passed()  # reader and writer are all that read it from here on

        def write_one(item: tuple[Frame, Planes]) -> None:
            frame, planes = item
            writer.write(planes, frame)

        model = load(plan.networks)
        engine = plan.start(model)
        notices.listen(plan.summary)
        frames = stack.enter_context(prefetched(measured(reader, plan.info.colour), READ_AHEAD, decode))
        write = stack.enter_context(background(write_one, WRITE_AHEAD, encode))
        if plan.source.path == STDIN:
            stack.push(stopping_input)
        for frame, planes in engine.enhanced(decided_chunks(frames, plan.peaks, engine.sizes.chunks, tally)):
            write((frame, planes))
            tally.frames += 1
            notices.listen(Progress(tally.frames, plan.summary.frames))
        notices.add(*reader.warnings, *engine.warnings, *writer.warnings)
        if tally.frames == 0:
            raise VqeError(f"{plan.source.path} has no frames to enhance.", "Check which part is asked for.")
    notices.add(*writer.warnings)  # what came to light at the end
    took = Took(decode.seconds, encode.seconds, time.perf_counter() - began)
    return plan.report(model, engine, tally, took, notices.texts)


def stopping_input(
    kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """At an error, ends standard input for the thread that may wait for more of it."""
    if error is not None:
        standard_input().stop()


@contextmanager
def finished_on(clock: Stopwatch, writer: Writer) -> Iterator[Writer]:
    """The writer; what it does at the end counts as encoding, too (encoders hold many pictures back)."""
    with ExitStack() as stack:
        yield stack.enter_context(writer)
        with clock.running():
            stack.close()


def enhance_by(loaded: LoadedEnsemble, settings: Settings, listen: Listener = lambda event: None) -> Report:
    """Enhance an input with these members in one piece, whatever model the settings name.

    An interrupted run begins anew: going on needs the name of an entry. Raises VqeError as `enhance` does.
    """
    began = time.perf_counter()
    notices = Notices(listen)
    input = Input(settings, remedy="Run again when it is as it should be.")
    planned = plan(settings, loaded, input)
    notices.add(*planned.warnings)
    return enhance_whole(planned, input, notices, lambda _: loaded, began)


def errors_of_pipelines(name: str, settings: Settings, loaded: LoadedEnsemble, truth: Path) -> ClipErrors:
    """Products of errors of the members' pictures, before rounding, and of the input; nothing is written.

    Raises VqeError for an input that cannot be read, and where the truth does not fit.
    """
    reader = open_reader(settings.input, settings.hm_log, settings.start, settings.frames)
    with reader, truth_side(truth, settings.frames) as side:
        info = reader.info
        engine = loaded.start(settings.sizes, info.colour, (info.height, info.width))
        peaks = peaks_of(settings, info)
        chunks = decided_chunks(measured(reader, info.colour), peaks, engine.sizes.chunks, Tally())
        return clip_errors(name, engine.member_frames(chunks), info, side)
