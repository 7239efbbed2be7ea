"""Marked as interlaced or interlaced: the samples decide."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_clips import make_clip

from vqe_cli.errors import VqeError
from vqe_cli.video.formats import picture_of
from vqe_cli.video.reader import Reader

SIZE = (96, 64)
TOP_FIRST = 2  # FFmpeg's number


def scene(at: float) -> np.ndarray:
    """A soft texture that moves, at a time in frames."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    return (128 + 50 * np.sin((x - 5 * at) / 6) + 40 * np.cos((y + 2 * at) / 9 + x / 17)).astype(np.uint8)


def clip(path: Path, woven: bool, codec: str = "libx264", count: int = 50) -> Path:
    """Marked as interlaced throughout; woven: each picture holds two fields of different times."""
    options = {"libx264": {"x264-params": "tff=1:qp=18"}, "mpeg2video": {"b": "4M"}}[codec]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion
        stream.codec_context.field_order = TOP_FIRST
        for number in range(count):
            luma = scene(number)
            if woven:
                luma[1::2] = scene(number + 0.5)[1::2]
            chroma = np.full((SIZE[1] // 2, SIZE[0] // 2), 128, np.uint8)
            made = picture_of([luma, chroma, chroma], "yuv420p")
            made.pts, made.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(made))
        output.mux(stream.encode(None))
    with av.open(str(path)) as written:
        first = next(written.decode(video=0))
        assert first.interlaced_frame or written.streams.video[0].codec_context.field_order > 1
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.mov", "libx264"), ("a.mpg", "mpeg2video")]
)
def test_progressive_pictures_that_are_marked_are_enhanced(tmp_path: Path, name: str, codec: str) -> None:
    with Reader(clip(tmp_path / name, False, codec)) as reader:
        assert len(list(reader)) == 50
        assert reader.info.field_order == "progressive"
        [warning] = [text for text in reader.warnings if "interlaced" in text]
        assert name in warning


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.mpg", "mpeg2video")])
def test_woven_pictures_are_refused(tmp_path: Path, name: str, codec: str) -> None:
    with pytest.raises(VqeError, match=f"{name} is interlaced") as caught:
        Reader(clip(tmp_path / name, True, codec))
    assert "bwdif" in caught.value.remedy


def test_fine_lines_are_no_fields(tmp_path: Path) -> None:
    """What looks combed looks so in both orders alike where it is not."""
    with av.open(str(tmp_path / "lines.mkv"), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"x264-params": "tff=1:qp=10"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(50):
            luma = np.zeros((SIZE[1], SIZE[0]), np.uint8)
            luma[(np.arange(SIZE[1]) + number) % 4 < 2] = 200
            chroma = np.full((SIZE[1] // 2, SIZE[0] // 2), 128, np.uint8)
            made = picture_of([luma, chroma, chroma], "yuv420p")
            made.pts, made.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(made))
        output.mux(stream.encode(None))
    with Reader(tmp_path / "lines.mkv") as reader:
        assert len(list(reader)) == 50


def test_a_video_without_marks_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqe_cli.video.reader.is_interlaced", lambda *place: pytest.fail("looked at"))
    with Reader(make_clip(tmp_path / "in.mkv", count=3)) as reader:
        assert len(list(reader)) == 3 and not reader.warnings
