"""Finished results to one: decoded in step, fused plane by plane, written with the first one's sound and
times.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqe_cli.ensemble.methods import Guard, Mask, MemberFrames, fused, rounded
from vqe_cli.errors import VqeError
from vqe_cli.measure.sources import Side, in_step
from vqe_cli.video.colour import to_arrays, to_rgb, to_tensors
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.sources import Unchanged, open_reader
from vqe_cli.video.targets import Encoding, Output, check_target, target_of
from vqe_cli.video.writer import Writer
from vqe_cli.weights.ensembles import Fusion

RATE_TOLERANCE = 1e-3  # containers keep rates as averages of rounded times
UNSAID = (0, 2)  # FFmpeg's numbers of colour tags that say nothing
REMEDY = "Only results of one input can be fused."


def check_agreement(infos: Sequence[VideoInfo]) -> None:
    """Raises VqeError, naming both files, where one differs from the first in what headers say."""
    first = infos[0]
    for other in infos[1:]:
        for what, tell in FACTS:
            one, two = tell(first), tell(other)
            if one is not None and two is not None and one != two:
                raise VqeError(
                    f"{other.path} and {first.path} differ in their {what}: {two} and {one}.", REMEDY
                )
        # Images have no rate; the reader assumes one.
        rates = [None if info.container == "images" else info.rate for info in (first, other)]
        if rates[0] and rates[1] and abs(rates[1] / rates[0] - 1) > RATE_TOLERANCE:
            raise VqeError(
                f"{other.path} has {float(rates[1]):g} frames a second, {first.path} {float(rates[0]):g}.",
                REMEDY,
            )


def check_counts(counts: Sequence[tuple[Path, int]]) -> None:
    """Raises VqeError with all counts where one has another number of frames than the first."""
    if len({count for _, count in counts}) > 1:
        listed = " and ".join(f"{path} has {count}" for path, count in counts)
        raise VqeError(f"the frame counts differ: {listed}.", REMEDY)


def _matrix(info: VideoInfo) -> str | None:
    return None if info.colour.guessed else info.colour.matrix


def _range(info: VideoInfo) -> str | None:
    return "full" if info.colour.full_range else "limited"


def _tag(name: str) -> Callable[[VideoInfo], object]:
    def tell(info: VideoInfo) -> object:
        tag = info.tags.get(name, 0)
        return None if tag in UNSAID else tag

    return tell


# What is compared, and how to tell it; None where a stream does not say it.
FACTS: tuple[tuple[str, Callable[[VideoInfo], object]], ...] = (
    ("size", lambda info: f"{info.width}x{info.height}"),
    ("frame count", lambda info: info.frame_count),
    ("bit depth", lambda info: info.colour.bit_depth),
    ("chroma format", lambda info: {"rgb": "rgb", "gray": "gray"}.get(info.colour.matrix, "YUV")),
    ("chroma subsampling", lambda info: "{}x{}".format(*info.colour.subsampling)),
    ("colour matrix", _matrix),
    ("colour range", _range),
    ("colour primaries (H.273)", _tag("primaries")),
    ("transfer function (H.273)", _tag("transfer")),
)


Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Results:
    """What is fused. members: results of one input, in order. given: that input, for the guard and for
    gains. frames: how many to use, None for all.
    """

    members: tuple[Path, ...]
    given: Path | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Writing:
    """How the output is written; see `Writer`."""

    codec: str | None = None
    """FFmpeg's name; None: by the container."""
    crf: float | None = None
    """Constant quality of the encoder."""
    pix_fmt: str | None = None
    """FFmpeg's name; None: by the input."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The encoder's own."""
    overwrite: bool = False
    """Whether an existing file may be replaced."""


@dataclass(frozen=True)
class FusionReport:
    """A finished fusion."""

    members: tuple[str, ...]
    """Paths, as given."""
    output: str
    """Path of what was written."""
    method: str
    """One of `METHODS`."""
    shares: tuple[float, ...] | None
    """Of the members, for `mean` and `weighted`; None otherwise."""
    frames: int
    """Written."""
    wall_s: float
    """Seconds on the clock."""
    warnings: tuple[str, ...]
    """One sentence each."""

    def as_dict(self) -> dict[str, Any]:
        """The report as what JSON can hold."""
        return {**vars(self), "members": list(self.members), "warnings": list(self.warnings)}


def fuse_results(
    results: Results,
    output: Path,
    fusion: Fusion,
    writing: Writing = Writing(),
    mask: Mask | None = None,
    progress: Progress = lambda frames, total: None,
) -> FusionReport:
    """Fuse finished results; nothing is left under the output's name when it fails.

    Raises VqeError for members that cannot be read or do not belong together, a method that does not fit, an
    output that cannot be written.
    """
    began = time.perf_counter()
    names = [str(path) for path in results.members]
    fusion.check(names)
    if fusion.method == "guard" and results.given is None:
        raise VqeError("the guard compares with the input.", "Name the compressed video with --lq FILE.")
    for path in [*results.members, *filter(None, [results.given])]:
        check_target(target_of(output), path, writing.overwrite)
    unchanged = Unchanged(*results.members, *filter(None, [results.given]))
    guard = Guard(names, fusion.limit_db, fusion.segment)
    method = fusion.method
    if method == "guard" and fusion.segment == 0:
        chosen = judged(results, guard)
        fusion = Fusion("weighted", tuple(float(index == chosen) for index in range(len(names))))
    with ExitStack() as stack:
        opened = stack.enter_context(Opened(results))
        info, colour = opened.info, opened.info.colour
        encoding = Encoding(writing.codec, writing.crf, writing.pix_fmt, writing.options)
        writer = stack.enter_context(
            Writer(
                Output(output, encoding, part=results.frames is not None, overwrite=writing.overwrite),
                info,
                completed=lambda aside: unchanged.check(),
            )
        )
        done = 0
        for frame, planes in fused(opened.member_frames(), fusion, colour, mask, guard):
            writer.write(to_arrays(rounded(planes, colour.bit_depth), colour.bit_depth), frame)
            done += 1
            progress(done, results.frames or info.frame_count)
        if done == 0:
            raise VqeError(f"{names[0]} has no frames to fuse.", "Name results that have some.")
        warnings = [*opened.warnings, *guard.sentences()]
    return FusionReport(
        members=tuple(names),
        output=str(output),
        method=method,
        shares=fusion.shares(len(names)) if fusion.method in ("mean", "weighted") else None,
        frames=done,
        wall_s=round(time.perf_counter() - began, 3),
        warnings=tuple(dict.fromkeys([*warnings, *writer.warnings])),
    )


def judged(results: Results, guard: Guard) -> int:
    """The member that the guard takes for the whole video: a first look at all of it."""
    with Opened(results) as opened:
        colour = opened.info.colour
        for group in opened.member_frames():
            assert group.given is not None
            members = [to_rgb(member, colour) for member in group.members]
            guard.see(to_rgb(group.given, colour), members)
    return guard.decide(0)


class Opened:
    """Results that are being decoded, each by a thread of its own. A context manager.

    info: of the first member, whose times, tags and other streams the output gets.
    Raises VqeError for what cannot be read and for members that do not belong together.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        readers = [(path, open_reader(path, frames=results.frames)) for path in results.members]
        check_agreement([reader.info for _, reader in readers])
        self.info: VideoInfo = readers[0][1].info
        if results.given is not None:
            readers.append((results.given, open_reader(results.given, frames=results.frames)))
        self._sides = [Side("member", path, reader) for path, reader in readers]
        self._input = self._sides[-1] if results.given is not None else None
        if self._input is not None:
            self._input.scale = self._enlargement(self._input.info)
        self._stack = ExitStack()

    def __enter__(self) -> "Opened":
        for side in self._sides:
            self._stack.enter_context(side)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    @property
    def warnings(self) -> list[str]:
        """What the readers had to say."""
        return [warning for side in self._sides for warning in side.warnings]

    def member_frames(self) -> Iterator[MemberFrames]:
        """The pictures of all members in step. Raises VqeError with all counts where one ends early."""
        for _, frames in in_step(self._sides, remedy=REMEDY):
            yield self._member_frames(frames)

    def _member_frames(self, frames: Sequence[Frame]) -> MemberFrames:
        planes = [[plane.float() for plane in to_tensors(frame.planes)] for frame in frames]
        members = len(self._results.members)
        given = planes[members] if len(planes) > members else None
        return MemberFrames(frames[0], tuple(planes[:members]), given)

    def _enlargement(self, given: VideoInfo) -> int:
        """How many times larger the members are than the input; checks that they go together."""
        scale = max(1, self.info.width // given.width)
        size = (given.width * scale, given.height * scale)
        check_agreement([self.info, replace(given, width=size[0], height=size[1])])
        return scale
