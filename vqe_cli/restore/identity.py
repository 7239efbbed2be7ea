"""What the result of a run depends on: by this a later run knows whether it may go on with it."""

import hashlib
from pathlib import Path
from typing import Any

from vqe_cli.errors import VqeError
from vqe_cli.restore.engine import Model
from vqe_cli.restore.settings import Settings
from vqe_cli.restore.sizes import Sizes
from vqe_cli.video.images import image_files
from vqe_cli.video.rehearsal import Rehearsal

# Read at both ends of a file to tell it from another one of the same size and time.
END_BYTES = 1 << 16


def identity(settings: Settings, model: Model, sizes: Sizes, written: Rehearsal) -> dict[str, Any]:
    """Settings by their flags, as they were resolved, and files by what tells them from others.

    Devices are named by kind alone: a run may go on with another one, on another machine.
    """
    chunks = sizes.chunks
    return {
        "the input": file_identity(settings.input),
        "the weights": [weights.sha256 for weights in model.weights],
        "the log of --hm-log": None if settings.hm_log is None else file_identity(settings.hm_log),
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


def file_identity(path: Path) -> list[Any]:
    """Size, time and a hash of both ends; for images all names, sizes and times, hashed.

    Raises VqeError for a file that is not there.
    """
    images = image_files(path)
    digest = hashlib.sha256()
    if images:
        for image in images:
            told = image.stat()
            digest.update(f"{image.name}\0{told.st_size}\0{told.st_mtime_ns}\0".encode())
        return [len(images), digest.hexdigest()]
    try:
        told = path.stat()
    except FileNotFoundError:
        raise VqeError(f"{path} does not exist any more.", "Put it back, and run again to go on.") from None
    with path.open("rb") as file:
        digest.update(file.read(END_BYTES))
        file.seek(max(0, told.st_size - END_BYTES))
        digest.update(file.read(END_BYTES))
    return [told.st_size, told.st_mtime_ns, digest.hexdigest()]
