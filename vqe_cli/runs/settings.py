"""What the user chose for one run of `enhance`, after flags, environment, file and defaults were merged."""

import math
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from vqe_cli.errors import SettingsError, shortened
from vqe_cli.restore.choices import NetworkChoice, PeakRule, SizeChoice
from vqe_cli.text import clock_text, seconds_of
from vqe_cli.video.pipes import STDIN, STDOUT
from vqe_cli.weights.registry import TTA_COUNTS

# The values that may be chosen from, by field; a device also takes an index ("cuda:1").
CHOICES: dict[str, tuple[str | int, ...]] = {
    "scale": (1, 2, 4),
    "tta": TTA_COUNTS,
    "stages": ("1", "2", "both"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "engine": ("auto", "torch", "openvino"),
    "pqf": ("auto", "qp", "hm-log", "period", "none"),
    "pqf_rule": ("prominent", "minima"),
    "deinterlace": ("single", "double"),
    "container": ("keep", "mkv", "mp4", "mov", "webm", "avi", "ts", "nut", "y4m"),
}
# How a type is called in a message.
KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    Path: "a path",
    tuple: "a list of paths",
    Mapping: "a list of key: value",
}
# The smallest value that makes sense, by field.
MINIMA: dict[str, int] = {
    "chunk": 0,
    "overlap": 0,
    "tile": 0,
    "tile_overlap": 0,
    "pqf_period": 1,
    "segment": 0,
    "workers": 1,
    "crf": 0,
    "start": 0,
    "frames": 1,
    "strength": 0,
    "from_": 0,
    "to": 0,
}
# Times of the video: seconds, or "1:30" and "1:02:03.5".
TIMES = ("from_", "to")
# The largest one.
MAXIMA = {"strength": 150}

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Settings:
    """What the user chose for one run, or for a folder of them.

    Raises VqeError for a value that is not allowed, naming the allowed ones.
    """

    input: Path
    """A video, an image folder or pattern, .y4m, or a folder of videos; "-" for standard input."""

    output: Path
    """A video, a folder or `%05d.png` pattern, .y4m; of a folder of videos another folder; "-" for standard
    output.
    """

    model: str | None = None
    """A pipeline or an ensemble of weights.toml; None for the default one."""

    weights: tuple[Path, ...] = ()
    """Files used in place of the pipeline's own, stage I first."""

    scale: int = 1
    """Size of the output over that of the input: 1, 2 or 4."""

    tta: int | None = None
    """Flips and rotations averaged; None for as many as the pipeline wants."""

    stages: str | None = None
    """"1", "2" or "both"; None for all that the pipeline has."""

    strength: float = 100.0
    """How much of the change is kept, per cent of what the pipeline wants: 0 to 150."""

    chunk: int = 0
    """Frames kept at a time; 0 for automatic."""

    overlap: int | None = None
    """Context frames on each side of a chunk; None for automatic."""

    tile: int = 0
    """Largest side of a tile, pixels; 0 for automatic."""

    tile_overlap: int = 0
    """Pixels that neighbouring tiles share; 0 for automatic."""

    device: str = "auto"
    """"auto", "cpu", "mps", "cuda" or "cuda:N"; or several, separated by commas, for one process each."""

    precision: str = "auto"
    """"auto", "fp32", "bf16" or "fp16"."""

    engine: str = "auto"
    """What computes the networks: "auto", "torch" or "openvino"."""

    pqf: str = "auto"
    """Where peak quality frames come from: "auto", "qp", "hm-log", "period" or "none"."""

    pqf_rule: str = "prominent"
    """Which minima of the QP count: "prominent" or "minima" (docs/specification.md, section 3)."""

    hm_log: Path | None = None
    """Log of the HM encoder or decoder with the QPs."""

    pqf_period: int = 4
    """Frames between peaks where QPs do not tell."""

    codec: str | None = None
    """FFmpeg's name of an encoder; None leaves the choice to the writer."""

    crf: float | None = None
    """Quality asked of the encoder, lower is better; None for the codec's default."""

    pix_fmt: str | None = None
    """FFmpeg's name of the written pixel format; None for the input's."""

    encoder_options: Mapping[str, str] = field(default_factory=dict)
    """FFmpeg's names and values for the encoder."""

    start: int = 0
    """First frame used, from 0."""

    frames: int | None = None
    """How many; None for all."""

    from_: float | None = None
    """First time used, seconds from the first picture; as text also "1:30". None for the beginning."""

    to: float | None = None
    """Time before which the last frame is shown; None for the end."""

    deinterlace: str | None = None
    """Of interlaced video: "single" for a frame of each picture, "double" for one of each field."""

    detelecine: bool = False
    """Whether the film behind 3:2 pulldown is taken out of a telecined video."""

    pattern: str | None = None
    """Of a folder, a glob for the files that are enhanced; None for every video."""

    suffix: str = ""
    """Of a folder, what is put behind the names of the results."""

    container: str = "keep"
    """Of a folder, which kind of file they become, "keep" for the same; of standard output, the kind of
    stream, "keep" for nut.
    """

    segment: int = 250
    """Frames of a part that is finished by itself, about; 0: one piece, which no crash may interrupt."""

    workers: int = 1
    """Processes that work at the same time, at least one for each device."""

    cluster: str | None = None
    """Address of a Ray cluster that does the work; "auto" for one that runs here."""

    cluster_ship: bool = False
    """Whether its machines do not see our files, so that packets are sent."""

    restart: bool = False
    """Whether an unfinished run of the same output is forgotten."""

    force: bool = False
    """Whether what cannot come out right is enhanced all the same."""

    overwrite: bool = False
    """Whether the output may exist."""

    def __post_init__(self) -> None:
        for name, stream in (("input", STDIN), ("output", STDOUT)):
            if str(getattr(self, name)) == "-":
                object.__setattr__(self, name, stream)
        for entry in fields(self):
            try:
                object.__setattr__(self, entry.name, checked(entry.name, getattr(self, entry.name)))
            except ValueError as error:
                raise SettingsError(
                    f"{option_name(entry.name)} {error}.", "See `vqe enhance --help` for what it takes."
                ) from error
        if self.by_times and (self.start or self.frames is not None):
            raise SettingsError(
                "a part is chosen by times (--from, --to) or by frames (--start, --frames), not by both.",
                "Leave one of them out.",
            )
        if self.deinterlace and self.detelecine:
            raise SettingsError(
                "a video is deinterlaced (--deinterlace) or telecined (--detelecine), not both.",
                "Leave one of them out.",
            )
        if self.progressive and self.cluster_ship:
            raise SettingsError(
                "--cluster-ship sends coded packets, and --deinterlace and --detelecine need decoded ones.",
                "Leave --cluster-ship out, and let all machines see the files.",
            )
        if self.to is not None and self.to <= (self.from_ or 0.0):
            raise SettingsError(
                f"--to {clock_text(self.to)} is not after --from {clock_text(self.from_ or 0.0)}.",
                "Choose a later --to.",
            )

    @property
    def progressive(self) -> str:
        """How interlaced pictures become frames; "" where they need not."""
        return "film" if self.detelecine else self.deinterlace or ""

    @property
    def is_piped(self) -> bool:
        """Whether the input or the output is a pipe: in one piece, once, without a way to go on later."""
        return self.input == STDIN or self.output == STDOUT

    @property
    def by_times(self) -> bool:
        """Whether a part is chosen by times."""
        return self.from_ is not None or self.to is not None

    @property
    def networks(self) -> NetworkChoice:
        """Which networks run, on the first of several devices: what is estimated and chosen goes by it."""
        return NetworkChoice(
            self.model,
            self.weights,
            self.scale,
            self.stages,
            self.tta,
            self.devices[0],
            self.precision,
            self.strength,
            self.engine,
        )

    @property
    def sizes(self) -> SizeChoice:
        """How much is enhanced at a time."""
        return SizeChoice(self.chunk, self.overlap, self.tile, self.tile_overlap, self.pqf_period)

    @property
    def peaks(self) -> PeakRule:
        """How peak quality frames are found."""
        return PeakRule(self.pqf, self.pqf_rule, self.pqf_period, self.hm_log is not None)

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices that are named."""
        return tuple(self.device.split(","))

    @property
    def processes(self) -> int:
        """How many processes work at the same time: as many as asked for, at least one for each device."""
        return max(self.workers, len(self.devices))


def plain_name(name: str) -> str:
    """A field's name without what keeps it from being a word of Python: "from_" is "from"."""
    return name.rstrip("_")


def option_name(name: str) -> str:
    """The flag of a field: "tile_overlap" is "--tile-overlap"."""
    return "-e" if name == "encoder_options" else f"--{plain_name(name).replace('_', '-')}"


def checked(name: str, value: Any) -> Any:
    """`value` in the type of the field `name`, as a flag, a variable or a YAML file may give it.

    Raises ValueError with the end of a sentence that starts with the field's name: "is 1, 2 or 4, not 3".
    """
    kind, optional = _kind(name)
    if value is None:
        if optional:
            return None
        raise ValueError("needs a value")
    if name in TIMES and isinstance(value, str):
        value = seconds_of(value)
    value = _converted(kind, value)
    if name in CHOICES and value not in CHOICES[name]:
        *some, last = CHOICES[name]
        raise ValueError(f"is {', '.join(map(str, some))} or {last}, not {shortened(value)}")
    if name == "device" and not all(DEVICE.fullmatch(part) for part in value.split(",")):
        raise ValueError(
            f"is auto, cpu, cuda, cuda:N, mps or several of them (cuda:0,cuda:1), not {shortened(value)}"
        )
    if name == "suffix" and ("/" in value or "\\" in value):
        raise ValueError(f"is put behind a name and holds no / or \\, as {shortened(value)} does")
    if name in MAXIMA and not MINIMA[name] <= value <= MAXIMA[name]:
        raise ValueError(f"is {MINIMA[name]} to {MAXIMA[name]}, not {shortened(value)}")
    if name in MINIMA and value < MINIMA[name]:
        raise ValueError(f"is at least {MINIMA[name]}, not {shortened(value)}")
    return value


def _kind(name: str) -> tuple[Any, bool]:
    """The type of a field without its None, and whether None is allowed."""
    annotation = get_type_hints(Settings)[name]
    if get_origin(annotation) is types.UnionType:
        return next(part for part in get_args(annotation) if part is not type(None)), True
    return get_origin(annotation) or annotation, False


def _converted(kind: Any, value: Any) -> Any:
    """`value` as `kind`; ValueError where it is something else."""
    if kind is Path and _is_path(value):
        return Path(value)
    if kind is tuple and _is_path(value):
        return (Path(value),)
    if kind is tuple and isinstance(value, list | tuple) and all(map(_is_path, value)):
        return tuple(Path(item) for item in value)
    if kind is Mapping and isinstance(value, Mapping) and all(map(_is_word, [*value, *value.values()])):
        return {str(key): str(item) for key, item in value.items()}
    if kind is str and _is_word(value) and not isinstance(value, bool | float):
        return str(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"is a number, not {value}")
        return float(value)
    if kind in (int, bool) and type(value) is kind:
        return value
    raise ValueError(f"is {KINDS[kind]}, not {shortened(value)}")


def _is_path(value: Any) -> bool:
    """Whether `value` can be a path: no file's name holds a zero byte."""
    return isinstance(value, str | Path) and "\0" not in str(value)


def _is_word(value: Any) -> bool:
    """Whether `value` stands for itself when it is written out."""
    return isinstance(value, str | int | float) and "\0" not in str(value)
