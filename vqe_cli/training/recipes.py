"""How compressed versions are made: the recipes by name (docs/specification.md, 10), as options of encoders,
and HM, the reference encoder of HEVC, as a program that the user names.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError

from vqe_cli.errors import VqeError
from vqe_cli.files import Aside, beside, write_error, write_text
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import each_reading, open_input, video_stream

KNOWN = "qpNN, crfNN, ntire-200k, rate-60k (any rate), x264-crfNN, hm-ldp-qpNN, lossless"


@dataclass(frozen=True)
class Recipe:
    """How a version is compressed; for the first three codecs one of the three numbers is set."""

    name: str
    """As on the command line."""
    codec: str
    """"libx265", "libx264", "hm", or "ffv1", which loses nothing."""
    qp: int | None = None
    """Constant QP."""
    crf: int | None = None
    """Constant quality."""
    kbit_s: int | None = None
    """Rate of two passes."""

    def options(self, stats: str = "", which: int = 0) -> dict[str, str]:
        """The encoder's options; stats, which: the statistics file of two passes and the pass, 1 or 2."""
        own = {} if self.codec == "ffv1" else {"preset": "medium"}
        if self.crf is not None:
            own["crf"] = str(self.crf)
        if self.qp is not None:
            own["x265-params"] = f"qp={self.qp}"
        if self.kbit_s is not None:
            own |= {"b": f"{self.kbit_s}k", "x265-params": f"pass={which}:stats={stats}"}
        return own


@dataclass(frozen=True)
class Pattern:
    """A family of recipes: what its names look like, and what the number in them is."""

    name: str
    codec: str
    number: str
    highest: int = field(default=10**6)


PATTERNS = (
    Pattern(r"qp(\d+)", "libx265", "qp", 51),
    Pattern(r"crf(\d+)", "libx265", "crf", 51),
    Pattern(r"(?:ntire|rate)-(\d+)k", "libx265", "kbit_s"),
    Pattern(r"x264-crf(\d+)", "libx264", "crf", 51),
    Pattern(r"hm-ldp-qp(\d+)", "hm", "qp", 51),
)


def recipe_of(name: str) -> Recipe:
    """The recipe of a name. Raises VqeError for a name or number that there is not."""
    if name == "lossless":
        return Recipe(name, "ffv1")
    for pattern in PATTERNS:
        found = re.fullmatch(pattern.name, name)
        if found and int(found[1]) <= pattern.highest and (pattern.number != "kbit_s" or int(found[1]) > 0):
            return Recipe(name, pattern.codec, **{pattern.number: int(found[1])})
    raise VqeError(f"there is no recipe {name!r}.", f"Known are {KNOWN}; QPs and CRFs go to 51.")


@dataclass(frozen=True)
class ReferenceEncoder:
    """program: HM's TAppEncoder. config: its encoder_lowdelay_P_main.cfg."""

    program: Path
    config: Path

    def arguments(self, recipe: Recipe) -> list[str]:
        """The options of the corpus; sizes, names and counts come on top."""
        return [
            "-c",
            self.config.name,
            "-q",
            str(recipe.qp),
            "--InputBitDepth=8",
            "--ConformanceWindowMode=1",
        ]


def encode_by_hm(
    hm: ReferenceEncoder,
    info: VideoInfo,
    pictures: Iterable[tuple[np.ndarray, ...]],
    recipe: Recipe,
    target: Path,
) -> None:
    """Encode 8-bit 4:2:0 planes by HM and put the stream into the Matroska file `target`, its log beside it.

    Raises VqeError when HM cannot be run or fails.
    """
    for file in (hm.program, hm.config):
        if not file.is_file():
            raise VqeError(f"there is no file {file}.", "Name HM's TAppEncoder and its configuration.")
    with tempfile.TemporaryDirectory(prefix="vqe-") as folder:
        raw, stream = Path(folder) / "in.yuv", Path(folder) / "out.bin"
        try:
            count = _samples(pictures, raw)
        except OSError as error:
            raise VqeError(
                f"cannot write the samples of {info.path} for HM ({error.strerror}).",
                f"Make room in {tempfile.gettempdir()}, or set TMPDIR to a larger disk.",
            ) from error
        said = _run(hm, info, recipe, raw, stream, count)
        try:
            with Aside(target) as place:
                _into_matroska(stream, info, place)
                write_text(beside(target.with_suffix(""), ".log"), said)
        except (OSError, FFmpegError) as error:
            raise write_error(error, target) from error


def _samples(pictures: Iterable[tuple[np.ndarray, ...]], raw: Path) -> int:
    """Write planes as raw video; gives the number of pictures. OSError if it fails."""
    count = 0
    with raw.open("wb") as samples:
        for planes in pictures:
            count += 1
            for plane in planes:
                samples.write(np.ascontiguousarray(plane).tobytes())
    return count


def _run(hm: ReferenceEncoder, info: VideoInfo, recipe: Recipe, raw: Path, stream: Path, count: int) -> str:
    """Run HM; gives what it says, its log, which tells the QP of every picture."""
    size = ["-wdt", str(info.width), "-hgt", str(info.height)]
    rate = ["-fr", str(max(1, round(info.rate or 25))), "-f", str(count)]
    arguments = hm.arguments(recipe)
    arguments[1] = str(hm.config)
    command = [str(hm.program), *arguments, "-i", str(raw), *size, *rate, "-b", str(stream)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise VqeError(f"cannot run {hm.program} ({error.strerror}).", "Name HM's TAppEncoder.") from error
    if done.returncode or not stream.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = f" ({said[-1].strip()})" if said else ""
        raise VqeError(
            f"{hm.program} failed on {info.path}{reason}.",
            "Check --hm-config: it must be for this version of HM.",
        )
    return done.stdout


def _into_matroska(stream: Path, info: VideoInfo, target: Path) -> None:
    """The elementary stream with times and the source's colour tags. Low delay: coding order is display
    order."""
    tags = {
        "colour_primaries": info.tags.get("primaries", 2),
        "transfer_characteristics": info.tags.get("transfer", 2),
        "matrix_coefficients": info.tags.get("matrix", 2),
        "video_full_range_flag": int(info.colour.full_range),
    }
    metadata = ":".join(f"{key}={value}" for key, value in tags.items())
    rate = info.rate or Fraction(25)
    with (
        open_input(stream, container_format="hevc") as coded,
        av.open(str(target.absolute()), "w", format="matroska") as output,
    ):
        video = video_stream(coded, stream)
        written = output.add_stream_from_template(video)
        written.time_base = 1 / rate
        tagger = BitStreamFilterContext(f"hevc_metadata={metadata}", video)
        count = 0
        for packet in each_reading(stream, coded.demux(video)):
            if not packet.size:
                continue
            for tagged in tagger.filter(packet):
                tagged.stream = written
                tagged.time_base = 1 / rate
                tagged.pts = tagged.dts = count
                tagged.duration = 1
                count += 1
                output.mux(tagged)
