"""Marked as interlaced or interlaced: the samples decide."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import shared_path
from tiny_clips import make_clip

from vqe_cli.errors import VqeError
from vqe_cli.video.deinterlace import ProgressiveReader, WovenReader
from vqe_cli.video.formats import picture_of
from vqe_cli.video.frame import Frame
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


def luma_of(frame: Frame) -> np.ndarray:
    return frame.planes[0].astype(float)


def error(frame: Frame, at: float) -> float:
    """Mean distance to the scene at a time, the borders left out, where filters guess."""
    return float(np.abs(luma_of(frame) - scene(at))[8:-8, 8:-8].mean())


@pytest.mark.parametrize("name", ["a.mkv", "a.mpg"])
def test_fields_become_frames_of_their_times(tmp_path: Path, name: str) -> None:
    path = clip(tmp_path / name, True, "libx264" if name == "a.mkv" else "mpeg2video")
    with ProgressiveReader(path, "single") as reader:
        single = list(reader)
    with ProgressiveReader(path, "double") as reader:
        double = list(reader)
        info = reader.info
    assert (len(single), len(double)) == (50, 100)
    assert (info.rate, info.field_order) == (50, "progressive")
    steps = np.diff([float(frame.pts * info.time_base) for frame in double if frame.pts is not None])
    assert np.allclose(steps, 0.02, atol=0.0011)
    assert max(error(frame, frame.index) for frame in single[2:-2]) < 4
    assert max(error(frame, frame.index / 2) for frame in double[4:-4]) < 4
    # Woven they are far from any time of the scene.
    with WovenReader(path) as reader:
        assert error(list(reader)[10], 10) > 6


def test_qps_peaks_and_kinds_go_with_the_pictures(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", True)
    with WovenReader(path) as reader:
        woven = list(reader)
    with ProgressiveReader(path, "single") as reader:
        assert [(each.qp, each.kind, each.pts) for each in reader] == [
            (each.qp, each.kind, each.pts) for each in woven
        ]
    with ProgressiveReader(path, "double") as reader:
        double = list(reader)
    assert [each.qp for each in double] == [each.qp for each in woven for _ in range(2)]
    assert len({each.qp for each in woven}) > 1


def test_qps_of_h264_are_the_same_in_every_run(tmp_path: Path) -> None:
    """FFmpeg's frame threads export some before they are known, most often of pictures coded like these."""
    path = clip(tmp_path / "a.mkv", False)
    runs = set()
    for _ in range(10):
        with Reader(path) as reader:
            runs.add(tuple(frame.qp for frame in reader))
    assert len(runs) == 1


def test_a_part_of_frames_is_counted_in_what_is_given(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", True)
    with ProgressiveReader(path, "double") as reader:
        whole = list(reader)
    with ProgressiveReader(path, "double", start=31, frames=4) as reader:
        part = list(reader)
    assert [(each.index, each.pts) for each in part] == [(each.index, each.pts) for each in whole[31:35]]
    assert all(np.array_equal(luma_of(a), luma_of(b)) for a, b in zip(part, whole[31:35], strict=True))


def test_film_is_taken_out_of_pulldown(tmp_path: Path) -> None:
    path = telecined(tmp_path / "film.mkv")
    with ProgressiveReader(path, "film") as reader:
        frames = list(reader)
        info = reader.info
    assert info.rate == Fraction(24000, 1001)
    assert len(frames) == 48
    assert max(error(frame, frame.index) for frame in frames) < 2
    times = [float(frame.pts * info.time_base) for frame in frames if frame.pts is not None]
    assert np.allclose(np.diff(times), 1001 / 24000, atol=0.0011)


def telecined(path: Path) -> Path:
    """48 pictures of film at 24 frames a second as 60 at 30: 2, 3, 2, 3 fields of each."""
    fields = [at for k in range(0, 48, 4) for at in (k, k, *(3 * [k + 1]), k + 2, k + 2, *(3 * [k + 3]))]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(
            "libx264", rate=Fraction(30000, 1001), options={"x264-params": "tff=1:qp=8"}
        )
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.flags |= 1 << 18 | 1 << 29
        for number, (top, bottom) in enumerate(zip(fields[::2], fields[1::2], strict=True)):
            luma = scene(top)
            luma[1::2] = scene(bottom)[1::2]
            chroma = np.full((SIZE[1] // 2, SIZE[0] // 2), 128, np.uint8)
            made = picture_of([luma, chroma, chroma], "yuv420p")
            made.pts, made.time_base = number, Fraction(1001, 30000)
            output.mux(stream.encode(made))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("way", ["single", "double", "film"])
def test_a_progressive_video_is_not_deinterlaced(tmp_path: Path, way: str) -> None:
    path = clip(tmp_path / "a.mkv", False)
    with pytest.raises(VqeError, match=r"a\.mkv is not interlaced"):
        ProgressiveReader(path, way)


def test_hevc_of_single_fields_is_refused_with_what_weaves_them() -> None:
    with pytest.raises(VqeError, match="single fields") as caught:
        ProgressiveReader(shared_path("hevc/streams/x265_tff.hevc"), "single")
    assert "weave" in caught.value.remedy


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
