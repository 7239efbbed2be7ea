"""Images, raw planes and .y4m files: in and out."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_clips import make_clip, rewrite

from vqe_cli.errors import VqeError
from vqe_cli.video import y4m
from vqe_cli.video.colour import to_rgb, to_tensors
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.images import image_files, png
from vqe_cli.video.reader import RawLayout
from vqe_cli.video.sources import open_reader


def read(path: Path) -> tuple[VideoInfo, list[Frame]]:
    with open_reader(path) as reader:
        return reader.info, list(reader)


def assert_same(frames: list[Frame], others: list[Frame]) -> None:
    for frame, other in zip(frames, others, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, other.planes, strict=True))


@pytest.mark.parametrize("shape", [(5, 7, 3), (6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_files_hold_the_very_levels(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    levels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    (tmp_path / "one.png").write_bytes(png(levels))
    with av.open(str(tmp_path / "one.png")) as container:
        picture = next(container.decode(video=0))
        name = {1: "gray", 3: "rgb24"} if dtype == np.uint8 else {1: "gray16le", 3: "rgb48le"}
        array = picture.reformat(format=name[1 if len(shape) == 2 else 3]).to_ndarray()
    assert np.array_equal(array, levels)


@pytest.mark.parametrize(("pix_fmt", "white"), [("yuv420p", 255), ("yuv420p10le", 65535), ("gray", 255)])
@pytest.mark.parametrize("name", ["images", "images/%03d.png"])
def test_video_to_images_is_rounded_rgb(tmp_path: Path, pix_fmt: str, white: int, name: str) -> None:
    source = make_clip(tmp_path / "in.mkv", pix_fmt=pix_fmt, count=3)
    (tmp_path / "images").mkdir()
    info, frames, warnings = rewrite(source, tmp_path / name)
    assert "neither sound" in warnings[0]
    files = image_files(tmp_path / "images")
    assert [path.name for path in files] == [
        f"{number:0{3 if '%' in name else 5}d}.png" for number in (1, 2, 3)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "in.mkv"]
    shown, images = read(tmp_path / name)
    assert (shown.container, shown.rate) == ("images", 25)
    for frame, image in zip(frames, images, strict=True):
        rgb = to_rgb(to_tensors(frame.planes), info.colour)[0, : len(image.planes)].clamp(0, 1).numpy()
        assert np.abs(np.stack(image.planes) - rgb * white).max() <= 0.51


def test_images_to_video_and_back_are_the_same(tmp_path: Path) -> None:
    rewrite(make_clip(tmp_path / "in.mkv", count=3), tmp_path / "first")
    info, frames, _ = rewrite(tmp_path / "first", tmp_path / "film.mkv", codec="ffv1")
    assert info.colour.matrix == "rgb"
    assert_same(frames, read(tmp_path / "film.mkv")[1])
    rewrite(tmp_path / "film.mkv", tmp_path / "second")
    for path in image_files(tmp_path / "first"):
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes()


def test_images_come_in_natural_order_and_in_parts(tmp_path: Path) -> None:
    for number in (1, 2, 10, 9):
        (tmp_path / f"f{number}.png").write_bytes(png(np.full((4, 4, 3), number, np.uint8)))
    (tmp_path / "notes.txt").write_text("no image")
    _, frames = read(tmp_path)
    assert [int(frame.planes[0][0, 0]) for frame in frames] == [1, 2, 9, 10]
    with open_reader(tmp_path, start=1, frames=2) as reader:
        assert [(frame.index, int(frame.planes[0][0, 0])) for frame in reader] == [(1, 2), (2, 9)]
    with pytest.raises(VqeError, match="only 4 images"):
        open_reader(tmp_path, start=4)


def test_images_of_several_sizes_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VqeError, match="no images"):
        open_reader(tmp_path)
    with pytest.raises(VqeError, match="no images named"):
        open_reader(tmp_path / "%04d.png")
    (tmp_path / "1.png").write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "2.png").write_bytes(png(np.zeros((4, 6, 3), np.uint8)))
    with pytest.raises(VqeError, match="picture size at picture 1"), open_reader(tmp_path) as reader:
        list(reader)
    (tmp_path / "2.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(VqeError, match=r"2\.png"), open_reader(tmp_path) as reader:
        list(reader)


def test_one_image_in_one_image_out(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(png(np.full((16, 16, 3), 99, np.uint8)))
    rewrite(tmp_path / "in.png", tmp_path / "out.png")
    assert_same(read(tmp_path / "in.png")[1], read(tmp_path / "out.png")[1])
    with pytest.raises(VqeError, match="exists already"):
        rewrite(tmp_path / "in.png", tmp_path / "out.png")
    source = make_clip(tmp_path / "clip.mkv", count=2)
    with pytest.raises(VqeError, match="names one image"):
        rewrite(source, tmp_path / "single.png")
    assert not (tmp_path / "single.png").exists()


@pytest.mark.parametrize(
    ("pix_fmt", "size"),
    [
        ("yuv420p", (64, 48)),
        ("yuv420p", (33, 17)),
        ("yuv420p10le", (34, 18)),
        ("yuv422p12le", (34, 18)),
        ("yuv444p", (33, 17)),
        ("gray", (33, 17)),
        ("gray10le", (34, 18)),
    ],
)
def test_y4m_holds_the_very_planes(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    source = make_clip(tmp_path / "in.nut", pix_fmt=pix_fmt, size=size, count=3)
    info, frames, warnings = rewrite(source, tmp_path / "out.y4m")
    written, shown = read(tmp_path / "out.y4m")
    assert (written.pix_fmt, written.width, written.height) == (pix_fmt, *size)
    assert (written.rate, written.colour.full_range) == (info.rate, info.colour.full_range)
    assert "neither sound" in warnings[0]
    assert_same(frames, shown)


def test_raw_planes_need_a_size(tmp_path: Path) -> None:
    _, frames = read(make_clip(tmp_path / "in.mkv", count=3))
    raw = b"".join(plane.tobytes() for frame in frames for plane in frame.planes)
    (tmp_path / "clip_64x48_50.yuv").write_bytes(raw)
    with open_reader(tmp_path / "clip_64x48_50.yuv") as reader:
        assert reader.info.rate == 50
        assert_same(frames, list(reader))
    deep = b"".join(plane.astype("<u2").tobytes() for frame in frames for plane in frame.planes)
    (tmp_path / "clip.yuv").write_bytes(deep)
    with pytest.raises(VqeError, match="how large"):
        open_reader(tmp_path / "clip.yuv")
    with open_reader(tmp_path / "clip.yuv", raw=RawLayout(64, 48, "yuv420p10le", 24)) as reader:
        assert reader.info.rate == 24
        assert_same(frames, list(reader))


def test_video_files_go_to_the_video_reader(tmp_path: Path) -> None:
    info, frames = read(make_clip(tmp_path / "in 100%.mkv", count=2))
    assert (info.codec, len(frames)) == ("ffv1", 2)
    with pytest.raises(VqeError, match="does not exist"):
        open_reader(tmp_path / "missing.mkv")


def test_a_y4m_header_says_what_ffmpeg_reads(tmp_path: Path) -> None:
    """Also the short one, without pixel aspect and range, that goes to the program vmaf."""
    path = tmp_path / "short.y4m"
    path.write_bytes(y4m.header((64, 48), Fraction(30000, 1001), "420p10") + y4m.FRAME + bytes(64 * 48 * 3))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (64, 48, Fraction(30000, 1001))
        assert stream.codec_context.pix_fmt == "yuv420p10le" and not stream.sample_aspect_ratio
        assert len(list(container.decode(stream))) == 1
