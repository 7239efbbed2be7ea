"""A run planned once, before weights are loaded and before the first frame: what cannot work is refused here,
and everything behind takes the plan.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqe_cli.bitstream.peaks import qp_step
from vqe_cli.errors import InputError, VqeError
from vqe_cli.restore.choices import NetworkChoice, PeakRule, SizeChoice
from vqe_cli.restore.chunks import Tally
from vqe_cli.restore.engine import Enhancer, Model
from vqe_cli.restore.ensemble import chunks_stand_alone, load_model
from vqe_cli.restore.sizes import Need, Sizes, needs
from vqe_cli.runs.journal import bytes_in, work_folder
from vqe_cli.runs.report import Report, Seconds, Summary, Took
from vqe_cli.runs.settings import Settings
from vqe_cli.video.estimates import SizeEstimate, amount
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.pipes import STDIN
from vqe_cli.video.sources import RESUME, Source, Unchanged, fingerprint
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.times import Times
from vqe_cli.video.writer import DryRun, Writer, dry_run


class Input:
    """The input of a run: its fingerprint is taken, then its headers are read, once for plan and run.

    `reader` gives the frames once, from the beginning. remedy: what to do where the file changes meanwhile.
    Raises VqeError for an input that is not there or cannot be read.
    """

    def __init__(self, settings: Settings, remedy: str = RESUME) -> None:
        times = Times(settings.from_ or 0.0, settings.to) if settings.by_times else None
        self.source = Source(
            settings.input, settings.start, settings.frames, settings.hm_log, times, settings.progressive
        )
        if settings.input == STDIN and settings.hm_log is not None:
            raise InputError("--hm-log is matched before anything is enhanced.", "Name a file, not a pipe.")
        files = [] if settings.input == STDIN else [settings.input]
        self.unchanged = Unchanged(*files, remedy=remedy)
        self.reader = self.source.open()
        if times is not None:
            times.check(self.reader.info)

    @property
    def fingerprint(self) -> list[Any]:
        """What identifies the file's content."""
        return self.unchanged.before.get(self.source.path, [str(self.source.path)])


@dataclass(frozen=True)
class Division:
    """How the work is divided, and what becomes of an unfinished run."""

    segment: int
    """Most frames of a part that is finished by itself, about; 0 for none."""

    possible: bool
    """Whether parts can be made by themselves; some ensembles look at frames around."""

    wanted: bool
    """Whether the video is long enough to be divided even when this process does all the work."""

    restart: bool
    """Whether an unfinished run of the same output is forgotten."""


@dataclass(frozen=True)
class Estimates:
    """What the run will take."""

    room: SizeEstimate | None
    """Bytes on the disk; None where the number of frames is unknown."""

    free: int
    """Bytes that the disk has, with those of the unfinished run."""

    needs: tuple[Need, ...]
    """Memory of the machine, and of the device."""


@dataclass(frozen=True)
class Plan:
    """One run, decided: what `--dry-run` shows, and all that comes after takes."""

    source: Source
    """Which frames of which file are read."""

    info: VideoInfo
    """What container and stream say of it."""

    networks: NetworkChoice
    """On the device that was chosen, the first of several."""

    size_choice: SizeChoice
    """As chosen by the user."""

    sizes: Sizes
    """As they follow from it, the networks and the device."""

    peaks: PeakRule
    """How peak quality frames are found."""

    output: Output
    """What was asked of the written video."""

    written: DryRun
    """What the output will be, tried out in memory."""

    division: Division
    """How the work is divided."""

    estimates: Estimates
    """Bytes on the disk and in memory."""

    summary: Summary
    """What was chosen, for people and for the report."""

    fingerprint: dict[str, Any]
    """What the result depends on: by this a later run knows whether it may go on with it."""

    warnings: tuple[str, ...]
    """What is noticed before the first frame, one sentence each."""

    @property
    def folder(self) -> Path:
        """The work folder of the output."""
        return work_folder(self.written.target.path)

    @property
    def encoding(self) -> Encoding:
        """The output's, with the codec that was chosen."""
        codec = self.written.codec if self.written.target.kind == "container" else None
        return dataclasses.replace(self.output.encoding, codec=codec)

    def writer(self, completed: Callable[[Path], None]) -> Writer:
        """What writes the output; completed: called with the complete file before it gets its name."""
        return Writer(dataclasses.replace(self.output, encoding=self.encoding), self.info, completed)

    def start(self, model: Model) -> Enhancer:
        """What enhances this input."""
        return model.start(self.size_choice, self.info.colour, (self.info.height, self.info.width))

    def report(self, model: Model, engine: Enhancer, tally: Tally, took: Took, warnings: list[str]) -> Report:
        """The report of a finished run."""
        by_number = dict.fromkeys((1, 2), 0.0)
        for stage, seconds in zip(engine.stages, engine.seconds, strict=True):
            by_number[stage.number] = round(by_number[stage.number] + seconds, 3)
        return Report(
            input=str(self.source.path),
            output=str(self.output.path),
            plan=self.summary,
            frames=tally.frames,
            seconds=Seconds(round(took.decode, 3), by_number[1], by_number[2], round(took.encode, 3)),
            wall_s=round(took.wall, 3),
            fps=round(tally.frames / took.wall, 3),
            weights=model.weights,
            pqf_source=tally.peaks.source(self.peaks),
            pqf_count=tally.peaks.peaks,
            duplicates=tally.duplicates,
            scene_cuts=tally.scene_cuts,
            warnings=tuple(warnings),
        )

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        info, written, room = self.info, self.written, self.estimates.room
        return {
            "input": {"path": str(info.path), "codec": info.codec, "streams": list(info.streams)},
            "plan": dataclasses.asdict(self.summary),
            "output": {
                "path": str(written.target.path),
                "codec": written.codec,
                "pix_fmt": written.pix_fmt,
                "crf": written.crf,
                "bytes_least": room.low if room else None,
                "bytes_most": room.high if room else None,
                "bytes_free": self.estimates.free,
            },
            "memory": [dataclasses.asdict(need) for need in self.estimates.needs],
            "warnings": list(self.warnings),
        }


def plan(
    settings: Settings, model: Model | None = None, input: Input | None = None, new_folder: bool = False
) -> Plan:
    """What `enhance` will do with these settings; nothing is written.

    model: what would run, loaded or without weights. input: where it is open already. new_folder: the
    output's folder will be made.

    Raises VqeError for all that can be noticed without decoding the whole input: an input that cannot be
    read, what `Writer` refuses, too little room on the disk, too little memory, an unknown model, weights
    that are missing or damaged, a device that is not there, sizes that contradict each other.
    """
    input = input or Input(settings)
    source, info = input.source, input.reader.info
    unshown = colours_unshown(info, settings.force)
    encoding = Encoding(settings.codec, settings.crf, settings.pix_fmt, dict(settings.encoder_options))
    output = Output(
        settings.output,
        encoding,
        settings.scale,
        source.is_part,
        settings.overwrite,
        source.times,
        settings.container,
    )
    written = dry_run(output, info, new_folder)
    model = model or load_model(settings.networks, empty=True)
    engine = model.start(settings.sizes, info.colour, (info.height, info.width))
    summary = summary_of(source, info, settings.networks, model, engine)
    segment = 0 if settings.is_piped else settings.segment
    wanted = segment > 0 and (summary.frames is None or summary.frames > 2 * segment)
    possible = segment > 0 and chunks_stand_alone(settings.networks)
    room, free = written.room(info, settings.scale, summary.frames), written.free_bytes()
    if room is not None and wanted:
        # Segments and the joined file are there at the same time.
        room = SizeEstimate(2 * room.low, 2 * room.high)
        free += bytes_in(work_folder(written.target.path))
    slower = [] if model.compute.warning is None else [model.compute.warning]
    warnings = [*input.reader.warnings, *unshown, *colour_warnings(info), *written.warnings, *slower]
    if settings.is_piped:
        warnings.append("a pipe is enhanced in one piece by one process, and cannot be resumed")
    if room is not None:
        warnings += room_warnings(room, free, str(settings.output))
    taken = needs(info, engine.stages, engine.sizes.chunks, settings.scale, settings.workers)
    warnings += [warning for need in taken for warning in memory_warnings(need)]
    return Plan(
        source=source,
        info=info,
        networks=settings.networks.on(str(model.compute.device)),
        size_choice=settings.sizes,
        sizes=engine.sizes,
        peaks=peaks_of(settings, info),
        output=output,
        written=written,
        division=Division(segment, possible, wanted, settings.restart),
        estimates=Estimates(room, free, taken),
        summary=summary,
        fingerprint=identity(settings, input, model, engine.sizes, written),
        warnings=tuple(warnings),
    )


def peaks_of(settings: Settings, info: VideoInfo) -> PeakRule:
    """How peaks are found in this input; QPs of a log are HEVC's."""
    rule = settings.peaks
    return rule if rule.from_log else dataclasses.replace(rule, step=qp_step(info.codec))


def summary_of(
    source: Source, info: VideoInfo, networks: NetworkChoice, model: Model, engine: Enhancer
) -> Summary:
    """What was chosen, for people and for the report."""
    sizes, scale = engine.sizes, networks.scale
    return Summary(
        model=model.name,
        device=model.compute.name,
        precision=model.compute.precision,
        chunk=sizes.chunks.chunk,
        overlap=sizes.chunks.overlap,
        tiles=tuple((tiling.tile, tiling.overlap) for tiling in sizes.tilings),
        tta=max(stage.tta for stage in engine.stages),
        frames=frames_expected(source, info),
        size_in=(info.width, info.height),
        size_out=(info.width * scale, info.height * scale),
        strength=networks.strength,
        engine=model.compute.engine,
    )


def frames_expected(source: Source, info: VideoInfo) -> int | None:
    """How many frames will come, by the header or else by duration and rate; None when neither is there."""
    total = info.frame_count
    if total is None and info.duration_s is not None and info.rate is not None:
        total = round(info.duration_s * info.rate)
    if source.times is not None:
        first, stop = source.times.frames(info)
        ends = [each for each in (total, stop) if each is not None]
        return max(0, min(ends) - first) if ends else None
    if total is not None:
        total = max(0, total - source.start)
    if source.frames is not None:
        total = source.frames if total is None else min(total, source.frames)
    return total


def colour_warnings(info: VideoInfo) -> list[str]:
    """What had to be guessed of the input's colours."""
    if not info.colour.guessed:
        return []
    return [f"{info.path} does not tell its colour matrix; {info.colour.matrix} is assumed by its height"]


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


def room_warnings(room: SizeEstimate, free: int, output: str) -> list[str]:
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


def identity(settings: Settings, input: Input, model: Model, sizes: Sizes, written: DryRun) -> dict[str, Any]:
    """What the result of a run depends on: by this a later run knows whether it may go on with it.

    Settings by their flags, as they were resolved, and files by what tells them from others.
    Devices are named by kind alone: a run may go on with another one, on another machine.
    """
    chunks = sizes.chunks
    return {
        "the input": input.fingerprint,
        "the weights": [weights.sha256 for weights in model.weights],
        "the log of --hm-log": None if settings.hm_log is None else fingerprint(settings.hm_log),
        "--model": model.name,
        "the entry in weights.toml": model.entry,
        "--stages": settings.stages,
        "--scale": settings.scale,
        "--tta": settings.tta,
        "--strength": settings.strength,
        "--chunk": chunks.chunk,
        "--overlap": chunks.overlap,
        "--tile": [[tiling.tile, tiling.overlap] for tiling in sizes.tilings],
        "--device": model.compute.device.type,
        "--precision": model.compute.precision,
        "--engine": model.compute.engine,
        "--pqf": settings.pqf,
        "--pqf-rule": settings.pqf_rule,
        "--pqf-period": settings.pqf_period,
        "--codec": written.codec,
        "--crf": settings.crf,
        "--pix-fmt": settings.pix_fmt,
        "-e": dict(settings.encoder_options),
        "--start": settings.start,
        "--frames": settings.frames,
        "--from": settings.from_,
        "--to": settings.to,
        "--deinterlace": settings.deinterlace,
        "--detelecine": settings.detelecine,
        "--segment": settings.segment,
        "the kind of output": [written.target.kind, written.target.muxer],
    }
