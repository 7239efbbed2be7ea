"""Compressed versions of clean clips for training and measuring: same frames, same tags, a known recipe."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from vqe_cli.documents import json_text
from vqe_cli.errors import VqeError
from vqe_cli.files import beside, sha256_of, write_text
from vqe_cli.training.library import clips_below
from vqe_cli.training.photographs import PhotographSource
from vqe_cli.training.recipes import Recipe, ReferenceEncoder, encode_by_hm
from vqe_cli.video.estimates import ENCODER_PICTURES, check_memory, frame_bytes
from vqe_cli.video.formats import picture_of, planes_of
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.images import image_files
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.writer import Writer

FORMAT = "yuv420p"  # what all recipes code, as in the corpus
BT709, LIMITED = 1, 1  # FFmpeg's numbers


@dataclass(frozen=True)
class Made:
    """A compressed version. frames: as counted on both sides; psnr_y_db: of its luma against what was
    encoded, from the mean squared error over the whole clip."""

    path: Path
    frames: int
    bytes: int
    psnr_y_db: float


class Source:
    """A clean clip as what a recipe encodes: 8-bit 4:2:0, filtered and scaled down where that is asked for.

    filters: FFmpeg's, each as NAME=ARGUMENTS, that make one picture of each. Scaling is FFmpeg's bicubic on
    the YUV planes and comes after them. RGB pictures become BT.709, limited range, and are tagged so. Raises
    VqeError as `open_reader` does, for filters that FFmpeg refuses, and for odd sizes.
    """

    def __init__(self, path: Path, scale: int = 1, filters: Sequence[str] = ()) -> None:
        self.path = path
        self.scale = scale
        self.filters = tuple(filters)
        given = open_reader(path).info
        width, height = self._filtered_size(given)
        if width % (2 * scale) or height % (2 * scale):
            raise VqeError(
                f"{path} is {width}x{height}, which gives no even size when divided by {scale}.",
                f"Crop it to multiples of {2 * scale} first.",
            )
        width, height = width // scale, height // scale
        held = min(given.frame_count or ENCODER_PICTURES, ENCODER_PICTURES)
        check_memory(path, (width, height), held * frame_bytes(width, height, FORMAT))
        tags = dict(given.tags)
        if given.colour.matrix == "rgb":
            tags |= {"matrix": BT709, "primaries": BT709, "transfer": BT709, "range": LIMITED}
        self.given = given
        self.info: VideoInfo = replace(
            given,
            width=width,
            height=height,
            pix_fmt=FORMAT,
            tags=tags,
            colour=replace(
                given.colour,
                bit_depth=8,
                subsampling=(2, 2),
                full_range=given.colour.full_range and given.colour.matrix != "rgb",
            ),
        )

    @property
    def record(self) -> dict[str, Any]:
        """What is done to the clip before it is encoded."""
        return {"filters": list(self.filters), "scale": self.scale}

    def pictures(self) -> Iterator[tuple[Frame, tuple[np.ndarray, ...]]]:
        """Each frame with the planes that are encoded of it."""
        changed = self.filters or self.scale > 1 or self.given.pix_fmt != FORMAT
        convert = Converter(self.given, self.filters, self.scale) if changed else None
        with open_reader(self.path) as reader:
            for frame in reader:
                yield frame, convert(frame) if convert else frame.planes

    def _filtered_size(self, given: VideoInfo) -> tuple[int, int]:
        """Width and height behind the filters, of the clip's first picture."""
        if not self.filters:
            return given.width, given.height
        convert = Converter(given, self.filters, 1)
        with open_reader(self.path) as reader:
            luma = convert(next(iter(reader)))[0]
        return luma.shape[1], luma.shape[0]


class Converter:
    """FFmpeg's filters, then its scaling down, from a frame's planes to those that are encoded."""

    def __init__(self, given: VideoInfo, filters: Sequence[str], scale: int) -> None:
        from vqe_cli.video.formats import sample_format

        self.planar = sample_format(given.pix_fmt).planar
        self.full_range = given.colour.full_range
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=given.width,
            height=given.height,
            format=av.VideoFormat(self.planar),
            time_base=Fraction(1, 1),
        )
        arguments = f"w=iw/{scale}:h=ih/{scale}:flags=bicubic"
        if given.colour.matrix == "rgb":
            arguments += ":out_color_matrix=bt709:out_range=limited"
        try:
            named = [graph.add(*text.split("=", 1)) for text in filters]
            chain = [source, *named, graph.add("scale", arguments), graph.add("format", FORMAT)]
            for one, next_one in pairwise([*chain, graph.add("buffersink")]):
                one.link_to(next_one)
            graph.configure()
        except (ValueError, IndexError, OSError) as error:
            raise VqeError(
                f"FFmpeg refuses the filters {', '.join(filters)} ({error}).",
                "Give each as NAME=ARGUMENTS, as in --filter rotate=0.4 --filter crop=320:176.",
            ) from error
        self.graph = graph
        self.count = 0

    def __call__(self, frame: Frame) -> tuple[np.ndarray, ...]:
        picture = picture_of(frame.planes, self.planar)
        picture.pts, picture.time_base = self.count, Fraction(1, 1)
        picture.color_range = 2 if self.full_range else 1
        self.count += 1
        self.graph.push(picture)
        try:
            pulled = self.graph.pull()
        except (BlockingIOError, EOFError) as error:
            raise VqeError(
                "a filter gives no picture for the one that it was given.",
                "Take filters that make one picture of each.",
            ) from error
        assert isinstance(pulled, av.VideoFrame)
        return planes_of(pulled)


def find_clips(paths: list[Path]) -> list[Path]:
    """The clips that a user names: files, picture folders, and all clips in a folder of them."""
    clips: list[Path] = []
    for path in paths:
        if path.is_dir() and not _holds_images(path):
            clips += clips_below(path).values()
        else:
            clips.append(path)
    return clips


def _holds_images(folder: Path) -> bool:
    try:
        return bool(image_files(folder))
    except VqeError:
        return False


def compress(
    source: Source | PhotographSource,
    recipe: Recipe,
    out: Path,
    hm: ReferenceEncoder | None = None,
    overwrite: bool = False,
) -> Made:
    """Make the compressed version `out/NAME.mkv` of a source, and `out/NAME.json`, which says how.

    hm: HM's encoder, for its recipes. Raises VqeError for unreadable clips, existing versions, failing
    encoders, and versions that do not have the frames that went in.
    """
    path = source.path
    target = out / f"{path.stem if path.is_file() else path.name}.mkv"
    if target.exists() and not overwrite:
        raise VqeError(f"{target} exists.", "Use --overwrite to replace it.")
    if target.exists() and target.samefile(path):
        raise VqeError(f"{target} is the clean clip itself.", "Name another folder by --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VqeError(
            f"cannot make the folder {out} ({error.strerror}).", "Choose another --out."
        ) from error
    if recipe.codec == "hm":
        if hm is None:
            raise VqeError(
                f"{recipe.name} needs HM's encoder.", "Name it by --hm TAppEncoder and --hm-config FILE.cfg."
            )
        encode_by_hm(hm, source.info, (planes for _, planes in source.pictures()), recipe, target)
    else:
        _encode(source, recipe, target)
    made = _checked(source, target)
    record = {**described(recipe, hm), **source.record}
    record |= {"source": path.name, "source_sha256": _sha256(path)}
    record |= {"frames": made.frames, "bytes": made.bytes, "psnr_y_db": _json_number(made.psnr_y_db)}
    try:
        write_text(beside(target.with_suffix(""), ".json"), json_text(record, indent=1) + "\n")
    except VqeError:
        target.unlink()
        raise
    return made


def described(recipe: Recipe, hm: ReferenceEncoder | None) -> dict[str, Any]:
    """A recipe and the versions of what carried it out."""
    record: dict[str, Any] = {"recipe": recipe.name, "codec": recipe.codec}
    if recipe.codec == "hm":
        assert hm is not None
        return record | {"encoder": str(hm.program.name), "options": hm.arguments(recipe)}
    return record | {
        "options": recipe.options("STATS", 2),
        "passes": 2 if recipe.kbit_s else 1,
        "ffmpeg": av.ffmpeg_version_info,
    }


def _encode(source: Source | PhotographSource, recipe: Recipe, target: Path) -> None:
    """Encode by x265 or x264; for a rate in two passes, with the statistics in a folder of their own."""
    if recipe.kbit_s is None:
        _write(source, recipe.codec, recipe.options(), target)
        return
    with tempfile.TemporaryDirectory(prefix="vqe-") as folder:
        stats = str(Path(folder) / "stats")
        for which in (1, 2):
            written = target if which == 2 else Path(folder) / "first.mkv"
            _write(source, recipe.codec, recipe.options(stats, which), written)


def _write(source: Source | PhotographSource, codec: str, options: dict[str, str], target: Path) -> None:
    with Writer(Output(target, Encoding(codec, options=options), overwrite=True), source.info) as writer:
        for frame, planes in source.pictures():
            writer.write(planes, frame)


def _checked(source: Source | PhotographSource, target: Path) -> Made:
    """Decode what was written beside what went in: frame counts and luma PSNR.

    Raises VqeError, and removes the file, when the counts differ.
    """
    squares, samples, before, after = 0.0, 0, 0, 0
    with open_reader(target) as reader:
        written = iter(reader)
        for _, planes in source.pictures():
            before += 1
            frame = next(written, None)
            if frame is None:
                continue
            after += 1
            difference = planes[0].astype(np.int32) - frame.planes[0]
            squares += float(np.square(difference).sum())
            samples += difference.size
        after += sum(1 for _ in written)
    if before != after:
        target.unlink()
        raise VqeError(
            f"{target} came out with {after} frames, its source {source.path} has {before}.",
            "Check the source: times that repeat make encoders drop frames.",
        )
    psnr = 10 * math.log10(255**2 * samples / squares) if squares else math.inf
    return Made(target, after, target.stat().st_size, psnr)


def _json_number(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _sha256(path: Path) -> str | None:
    """Of a file; None for a folder."""
    if not path.is_file():
        return None
    return sha256_of(path)
