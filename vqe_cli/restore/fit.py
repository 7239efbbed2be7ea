"""What the pipelines of an ensemble make of a clip whose truth is known, for fitting their weights."""

from pathlib import Path

from vqe_cli.fusion.fitting import ClipErrors, clip_errors, truth_side
from vqe_cli.restore.ensemble import LoadedEnsemble
from vqe_cli.restore.settings import Settings
from vqe_cli.restore.stream import Tally, scene_chunks
from vqe_cli.video.sources import open_reader


def errors_of_pipelines(name: str, settings: Settings, loaded: LoadedEnsemble, truth: Path) -> ClipErrors:
    """Products of errors of the members' pictures, before rounding, and of the input; nothing is written.

    Raises VqeError for an input that cannot be read, and where the truth does not fit.
    """
    reader = open_reader(settings.input, settings.hm_log, settings.start, settings.frames)
    with reader, truth_side(truth, settings.frames) as side:
        info = reader.info
        engine = loaded.start(settings, info.colour, (info.height, info.width))
        chunks = scene_chunks(reader, settings, engine, Tally())
        return clip_errors(name, engine.moments(chunks), info, side)
