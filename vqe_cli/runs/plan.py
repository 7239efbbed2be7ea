"""What a run will do, write and take: known, and refused where it cannot work, before weights are loaded and
before the first frame.
"""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from vqe_cli.errors import VqeError
from vqe_cli.restore.engine import Model
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.memory import Need, needs
from vqe_cli.runs.journal import bytes_in, work_folder
from vqe_cli.runs.outcome import colour_warnings, plan_of
from vqe_cli.runs.report import Plan
from vqe_cli.runs.segments import in_segments
from vqe_cli.runs.settings import Settings
from vqe_cli.video.encoders import Encoding
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.memory import amount
from vqe_cli.video.rehearsal import Rehearsal, rehearse
from vqe_cli.video.room import Room
from vqe_cli.video.sources import open_reader


@dataclass(frozen=True)
class Forecast:
    """A run that would start.

    info: the input. plan: networks and sizes. rehearsal: what would be written. room: bytes of it, None where
    the number of frames is unknown; free: bytes that the disk has. needs: memory. warnings: sentences.
    """

    info: VideoInfo
    plan: Plan
    rehearsal: Rehearsal
    room: Room | None
    free: int
    needs: tuple[Need, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        info, written = self.info, self.rehearsal
        return {
            "input": {"path": str(info.path), "codec": info.codec, "streams": list(info.streams)},
            "plan": dataclasses.asdict(self.plan),
            "output": {
                "path": str(written.target.path),
                "codec": written.codec,
                "pix_fmt": written.pix_fmt,
                "crf": written.crf,
                "bytes_least": self.room.low if self.room else None,
                "bytes_most": self.room.high if self.room else None,
                "bytes_free": self.free,
            },
            "memory": [dataclasses.asdict(need) for need in self.needs],
            "warnings": list(self.warnings),
        }


def forecast(settings: Settings) -> Forecast:
    """What `enhance` would do with these settings; nothing is written.

    Raises VqeError for all that can be noticed without decoding the whole input.
    """
    with open_reader(settings.input, settings.hm_log, settings.start, settings.frames) as reader:
        found = preflight(on_one_device(settings), reader.info)
        return replace(found, warnings=(*reader.warnings, *found.warnings))


def on_one_device(settings: Settings) -> Settings:
    """The settings for the first of several devices: what is reckoned and chosen goes by it."""
    return replace(settings, device=settings.device.split(",")[0])


def preflight(
    settings: Settings, info: VideoInfo, model: Model | None = None, new_folder: bool = False
) -> Forecast:
    """As `forecast`, of an input that is open already.

    model: what would run, loaded or without weights. new_folder: the output's folder will be made.

    Raises VqeError: what `Writer` refuses, too little room on the disk, too little memory, an unknown model,
    weights that are missing or damaged, a device that is not there, sizes that contradict each other.
    """
    unshown = colours_unshown(info, settings.force)
    part = settings.start > 0 or settings.frames is not None
    encoding = Encoding(settings.codec, settings.crf, settings.pix_fmt, dict(settings.encoder_options))
    written = rehearse(settings.output, info, encoding, settings.scale, part, settings.overwrite, new_folder)
    model = model or load_model(settings, empty=True)
    engine = model.start(settings, info.colour, (info.height, info.width))
    plan = plan_of(settings, info, model, engine)
    room, free = written.room(info, settings.scale, plan.frames), written.free_bytes()
    if room is not None and in_segments(settings, plan.frames):
        room = Room(2 * room.low, 2 * room.high)  # segments and the joined file are there at the same time
        free += bytes_in(work_folder(written.target.path))
    warnings = [*unshown, *colour_warnings(info), *written.warnings]
    if room is not None:
        warnings += room_warnings(room, free, str(settings.output))
    taken = needs(settings, info, engine, model.compute)
    warnings += [warning for need in taken for warning in memory_warnings(need)]
    return Forecast(info, plan, written, room, free, taken, tuple(warnings))


def colours_unshown(info: VideoInfo, force: bool) -> list[str]:
    """A warning where colours cannot come out right; in its place a VqeError, unless `force`."""
    if info.dolby_vision is None:
        return []
    what = (
        f"{info.path} is Dolby Vision of profile {info.dolby_vision}, whose colours (IPT, reshaped by "
        "metadata) come out green and purple without Dolby's conversion"
    )
    if force:
        return [what]
    raise VqeError(
        f"{what}.",
        "Convert it to HDR10 first, for example with ffmpeg's filter libplacebo, or give --force.",
    )


def room_warnings(room: Room, free: int, output: str) -> list[str]:
    """What to say of the room on the disk; raises VqeError where even the least does not fit."""
    if room.low > free:
        raise VqeError(
            f"{output} will take at least {amount(room.low)}, and {amount(free)} are free there.",
            "Free some space, choose an output on another disk, or a higher --crf.",
        )
    if room.high > free:
        return [f"{output} may take up to {amount(room.high)}, and {amount(free)} are free there"]
    return []


def memory_warnings(need: Need) -> list[str]:
    """What to say of memory; raises VqeError where it cannot suffice."""
    if need.total is not None and need.surely > need.total:
        raise VqeError(
            f"the run takes about {amount(need.bytes)} of {need.where}, and there are {amount(need.total)}.",
            "Use a smaller --tile, --chunk or --overlap.",
        )
    if need.free is not None and need.bytes > need.free:
        return [
            f"the run may take {amount(need.bytes)} of {need.where}, and {amount(need.free)} are free now; "
            "if it fails, use a smaller --tile or --chunk"
        ]
    return []
