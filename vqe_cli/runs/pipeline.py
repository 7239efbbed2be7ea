"""A file to a better file: what can be refused is refused; then it is enhanced, whole or in segments."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from vqe_cli.errors import VqeError
from vqe_cli.restore.device import choose
from vqe_cli.restore.engine import Model
from vqe_cli.restore.ensemble import chunks_stand_alone, load_model
from vqe_cli.runs.fingerprint import identity
from vqe_cli.runs.journal import Journal, claimed, forget, is_begun, left_over, work_folder
from vqe_cli.runs.outcome import Notices
from vqe_cli.runs.plan import Forecast, preflight
from vqe_cli.runs.ray_workers import RayCrew
from vqe_cli.runs.report import Listener, Report
from vqe_cli.runs.segmented import Run
from vqe_cli.runs.segments import Recipe, in_segments
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.whole import enhance_whole
from vqe_cli.runs.workers import Crew, LocalCrew
from vqe_cli.video.encoders import Encoding
from vqe_cli.video.sources import FrameSource, open_reader
from vqe_cli.video.targets import target_of
from vqe_cli.video.unchanged import RESUME, Unchanged

Load = Callable[[Settings], Model]


class Restorer:
    """Enhances any number of files: `with Restorer() as restorer: restorer.enhance(settings)`.

    Networks are loaded, or worker processes started, at the first file and serve all. All settings given to
    one Restorer agree in all that concerns networks, devices and workers. `enhance` may be called from as
    many threads at the same time as there are workers.
    """

    def __init__(self) -> None:
        self._model: Model | None = None
        self._crew: Crew | None = None
        self._stack = ExitStack()
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def enhance(self, settings: Settings, listen: Listener = lambda event: None) -> Report:
        """As `pipeline.enhance`."""
        with self._starting:
            if self._crew is None and has_crew(settings):
                crew = new_crew(settings)
                self._stack.enter_context(crew)
                self._crew = crew
        return enhance(settings, listen, self._load, self._crew)

    def _load(self, settings: Settings) -> Model:
        self._model = self._model or load_model(settings)
        return self._model


def has_crew(settings: Settings) -> bool:
    """Whether the settings ask for more than this process."""
    return settings.cluster is not None or settings.workers > 1 or "," in settings.device


def new_crew(settings: Settings) -> "LocalCrew | RayCrew":
    """The workers that the settings ask for; raises VqeError for a device or a cluster that is not there."""
    if settings.cluster is not None:
        return RayCrew(settings)
    devices = settings.device.split(",")
    for device in devices:
        choose(device, settings.precision)
    count = max(settings.workers, len(devices))
    return LocalCrew([devices[number % len(devices)] for number in range(count)])


def enhance(
    settings: Settings,
    listen: Listener = lambda event: None,
    load: Load | None = None,
    crew: Crew | None = None,
) -> Report:
    """Enhance one input as the settings say; nothing but a complete file is ever under the output's name.

    A long input is enhanced in segments: what is finished when the run ends early is kept in the work folder
    beside the output, and the next run with the same settings goes on there.

    listen: called in this thread with a Plan, then Progress and Notices. load: gives the networks, called
    once, when the input and the place of the output have been found to be in order. crew: makes the segments
    in place of this process.
    Raises VqeError for all that a user can cause; KeyboardInterrupt passes through after cleaning up.
    """
    began = time.perf_counter()
    notices = Notices(listen)
    first = replace(settings, device=settings.device.split(",")[0])
    folder = work_folder(target_of(settings.output).path)
    finished = left_over(folder, settings.output)
    if finished is not None:
        notices.add(f"{settings.output} was complete already; only its work folder was left")
        return finished
    unchanged = Unchanged(settings.input, remedy=RESUME)
    reader = open_reader(settings.input, settings.hm_log, settings.start, settings.frames)
    forecast = preflight(first, reader.info)
    notices.add(*reader.warnings, *forecast.warnings)
    with claimed(folder, settings.output):
        if settings.restart:
            forget(folder)
        divided = crew is not None or in_segments(settings, forecast.plan.frames)
        if not (divided and settings.segment and chunks_stand_alone(settings)):
            if is_begun(folder):
                raise VqeError(
                    f"{folder} holds an unfinished run with other settings.",
                    "Give the old settings again, or begin anew with --restart.",
                )
            return enhance_whole(first, reader, load or load_model, notices, unchanged, began)
        return in_parts(first, reader, forecast, notices, unchanged, load or load_model, crew, began)


def in_parts(
    settings: Settings,
    reader: FrameSource,
    forecast: Forecast,
    notices: Notices,
    unchanged: Unchanged,
    load: Load,
    crew: Crew | None,
    began: float,
) -> Report:
    """The same in segments, with all that was found out before."""
    info, written = reader.info, forecast.rehearsal
    model = load(settings) if crew is None else load_model(settings, empty=True)
    engine = model.start(settings, info.colour, (info.height, info.width))
    folder = work_folder(written.target.path)
    journal = Journal(folder, identity(settings, model, engine.sizes, written))
    codec = written.codec if written.target.kind == "container" else None
    encoding = Encoding(codec, settings.crf, settings.pix_fmt, dict(settings.encoder_options))
    recipe = Recipe(settings, info, written.target, encoding, engine.sizes)
    notices.listen(forecast.plan)
    return Run(recipe, journal, model, engine, forecast.plan, notices, unchanged, began).complete(crew)
