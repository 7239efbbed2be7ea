"""Whether results belong together: one size, one rate, one colour, one number of frames."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vqe_cli.errors import VqeError
from vqe_cli.video.frame import VideoInfo

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
