"""Pipelines that are fused without an entry in weights.toml: run on an input, or compared with its truth."""

import time
from pathlib import Path

from vqe_cli.ensemble.fitting import ClipErrors, clip_errors, truth_side
from vqe_cli.restore.chunks import Tally, decided_chunks
from vqe_cli.restore.ensemble import LoadedEnsemble
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.outcome import Notices
from vqe_cli.runs.plan import plan
from vqe_cli.runs.report import Listener, Report
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.whole import enhance_whole
from vqe_cli.video.sources import Unchanged, open_reader


def enhance_by(loaded: LoadedEnsemble, settings: Settings, listen: Listener = lambda event: None) -> Report:
    """Enhance an input with these members in one piece, whatever model the settings name.

    An interrupted run begins anew: going on needs the name of an entry. Raises VqeError as `enhance` does.
    """
    began = time.perf_counter()
    notices = Notices(listen)
    unchanged = Unchanged(settings.input)
    planned = plan(settings, loaded)
    notices.add(*planned.warnings)
    return enhance_whole(planned, lambda _: loaded, notices, unchanged, began)


def errors_of_pipelines(name: str, settings: Settings, loaded: LoadedEnsemble, truth: Path) -> ClipErrors:
    """Products of errors of the members' pictures, before rounding, and of the input; nothing is written.

    Raises VqeError for an input that cannot be read, and where the truth does not fit.
    """
    reader = open_reader(settings.input, settings.hm_log, settings.start, settings.frames)
    with reader, truth_side(truth, settings.frames) as side:
        info = reader.info
        engine = loaded.start(settings.sizes, info.colour, (info.height, info.width))
        chunks = decided_chunks(measured(reader, info.colour), settings.peaks, engine.sizes.chunks, Tally())
        return clip_errors(name, engine.member_frames(chunks), info, side)
