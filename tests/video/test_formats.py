"""Samples of every pixel format of FFmpeg: as planes and back, and in files that hold them without loss."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_clips import planes

from vqe_cli.errors import VqeError
from vqe_cli.video.formats import SampleFormat, picture_of, planes_of, sample_format
from vqe_cli.video.frame import Colour, Frame, VideoInfo
from vqe_cli.video.images import png
from vqe_cli.video.reader import Reader
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.writer import Writer, dry_run

WIDTH, HEIGHT = 64, 48


def readable() -> list[tuple[str, SampleFormat]]:
    found = []
    for name in sorted(av.video.format.names):
        try:
            found.append((name, sample_format(name)))
        except ValueError:
            continue
    return found


def gradient() -> av.VideoFrame:
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    levels = np.stack([across * 900, down * 1200, (across + down) * 500], axis=-1).astype(np.uint16)
    return av.VideoFrame.from_ndarray(levels, format="rgb48le")


@pytest.mark.parametrize(
    ("name", "samples"), readable(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_planes_hold_what_the_picture_shows(name: str, samples: SampleFormat) -> None:
    """Compared as RGB with FFmpeg's own conversion, which is not asked for formats that it cannot write."""
    try:
        picture = gradient().reformat(format=name)
    except (ValueError, OSError):
        pytest.skip("FFmpeg does not write it")
    once, again = planes_of(picture), planes_of(picture)
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))
    assert len(once) == (1 if samples.model == "gray" else 3)
    back = picture_of(once, samples.planar)
    back.color_range = picture.color_range  # yuvj says it by its name
    shown = [each.reformat(format="rgb48le").to_ndarray().astype(int) for each in (back, picture)]
    assert np.abs(shown[0] - shown[1]).mean() < 400 or "yuvj" in name


GRAY = ["gray", "gray9le", "gray10le", "gray12le", "gray14le", "gray16le", "gray10be", "gray16be"]
COLOUR = [
    "yuv420p9le",
    "yuv420p14le",
    "yuv420p16le",
    "yuv422p12le",
    "yuv440p",
    "yuv444p14le",
    "gbrap10le",
    "gbrp9le",
]


@pytest.mark.parametrize("suffix", [".mkv", ".y4m", ".nut"])
@pytest.mark.parametrize("name", [*GRAY, *COLOUR])
def test_depth_is_kept_or_refused(tmp_path: Path, name: str, suffix: str) -> None:
    samples = sample_format(name)
    shown = planes(samples.planar, WIDTH, HEIGHT)
    matrix = {"gray": "gray", "rgb": "rgb"}.get(samples.model, "bt709")
    info = VideoInfo(
        path=tmp_path / "in",
        container="images",
        codec="rawvideo",
        width=WIDTH,
        height=HEIGHT,
        pix_fmt=name,
        colour=Colour(matrix, False, samples.bit_depth, samples.subsampling),
        rate=Fraction(25),
        time_base=Fraction(1, 25),
    )
    output = tmp_path / f"out{suffix}"
    try:
        with Writer(Output(output, Encoding(None if suffix == ".y4m" else "ffv1")), info) as writer:
            writer.write(shown, Frame(0, shown, 0))
    except VqeError as error:
        assert suffix == ".y4m" and samples.planar in error.message
        return
    with Reader(output) as reader:
        [frame] = list(reader)
    assert reader.info.colour.bit_depth == samples.bit_depth
    assert all(np.array_equal(one, other) for one, other in zip(frame.planes, shown, strict=True))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_keep_depth_and_channels(tmp_path: Path, deep: bool, channels: int) -> None:
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, 3)
    top, dtype = (65536, np.uint16) if deep else (256, np.uint8)
    levels = np.random.default_rng(1).integers(0, top, shape).astype(dtype)
    (tmp_path / "in.png").write_bytes(png(levels))
    with (
        open_reader(tmp_path / "in.png") as reader,
        Writer(Output(tmp_path / "out.png"), reader.info) as writer,
    ):
        for frame in reader:
            writer.write(frame.planes, frame)
    with av.open(str(tmp_path / "out.png")) as container:
        written = next(container.decode(video=0))
    assert np.array_equal(written.to_ndarray(), levels)
    planned = dry_run(Output(tmp_path / "out.png", overwrite=True), reader.info)
    assert planned.pix_fmt == written.format.name


@pytest.mark.parametrize("name", ["rgb4", "bgr4", "gbrpf32le", "xyz12le", "bayer_rggb8"])
def test_formats_without_planes_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        sample_format(name)
