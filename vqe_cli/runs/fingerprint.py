"""What the result of a run depends on: by this a later run knows whether it may go on with it."""

from typing import Any

from vqe_cli.restore.engine import Model
from vqe_cli.restore.sizes import Sizes
from vqe_cli.runs.settings import Settings
from vqe_cli.video.sources import fingerprint
from vqe_cli.video.writer import DryRun


def identity(settings: Settings, model: Model, sizes: Sizes, written: DryRun) -> dict[str, Any]:
    """Settings by their flags, as they were resolved, and files by what tells them from others.

    Devices are named by kind alone: a run may go on with another one, on another machine.
    """
    chunks = sizes.chunks
    return {
        "the input": fingerprint(settings.input),
        "the weights": [weights.sha256 for weights in model.weights],
        "the log of --hm-log": None if settings.hm_log is None else fingerprint(settings.hm_log),
        "--model": model.name,
        "the entry in weights.toml": model.entry,
        "--stages": settings.stages,
        "--scale": settings.scale,
        "--tta": settings.tta,
        "--chunk": chunks.chunk,
        "--overlap": chunks.overlap,
        "--tile": [[tiling.tile, tiling.overlap] for tiling in sizes.tilings],
        "--device": model.compute.device.type,
        "--precision": model.compute.precision,
        "--pqf": settings.pqf,
        "--pqf-rule": settings.pqf_rule,
        "--pqf-period": settings.pqf_period,
        "--codec": written.codec,
        "--crf": settings.crf,
        "--pix-fmt": settings.pix_fmt,
        "-e": dict(settings.encoder_options),
        "--start": settings.start,
        "--frames": settings.frames,
        "--segment": settings.segment,
        "the kind of output": [written.target.kind, written.target.muxer],
    }
