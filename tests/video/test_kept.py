"""What lies around the samples: rotation, pixel aspect, transparency, Dolby Vision. Kept, applied or said."""

import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import DATA
from tiny_clips import make_clip

from vqe_cli.video.hdr import is_ipt
from vqe_cli.video.images import turned
from vqe_cli.video.reader import Reader
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import Output
from vqe_cli.video.writer import Writer, dry_run

CASES = DATA / "cases"
ONE = 1 << 16


def rewrite(source: Path, output: Path) -> list[str]:
    with open_reader(source) as reader, Writer(Output(output), reader.info) as writer:
        for frame in reader:
            writer.write(frame.planes, frame)
    planned = dry_run(Output(output, overwrite=True), reader.info).warnings
    assert set(planned) == set(writer.warnings), "what is said afterwards was known before"
    return [*reader.warnings, *writer.warnings]


def picture(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)


def aspect(path: Path) -> Fraction | None:
    with av.open(str(path)) as container:
        return container.streams.video[0].sample_aspect_ratio


def test_images_stand_as_the_video_is_shown(tmp_path: Path) -> None:
    source = CASES / "rotated.mp4"
    warnings = rewrite(source, tmp_path / "f%03d.png")
    assert any("turned" in text for text in warnings)
    written = picture(tmp_path / "f001.png")
    assert written.shape == (160, 96, 3)
    assert aspect(tmp_path / "f001.png") == Fraction(17, 18)  # of pixels that lie on their side
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(source), "-frames:v", "1", str(tmp_path / "truth.png")],
        check=True,
    )
    truth = picture(tmp_path / "truth.png")
    assert truth.shape == written.shape
    assert np.abs(truth - written).mean() < 6  # other chroma interpolation
    assert np.abs(truth - written[::-1, ::-1]).mean() > 12


@pytest.mark.parametrize(
    "numbers", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)]
)
def test_turning_follows_the_display_matrix(numbers: tuple[int, int, int, int]) -> None:
    """Each sample lands where the matrix sends its position."""
    a, b, c, d = numbers
    levels = np.arange(12).reshape(3, 4)
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    sent = {(a * x + c * y, b * x + d * y): levels[y, x] for y in range(3) for x in range(4)}
    left, top = min(x for x, _ in sent), min(y for _, y in sent)
    out = turned(levels, matrix)
    assert all(out[y - top, x - left] == value for (x, y), value in sent.items())


def test_a_y4m_file_says_what_it_does_not_keep(tmp_path: Path) -> None:
    warnings = rewrite(CASES / "rotated.mp4", tmp_path / "out.y4m")
    assert any("90" in text and "rotation" in text for text in warnings)
    assert b" A18:17 " in (tmp_path / "out.y4m").read_bytes()[:100]


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    """EXIF orientation 6: shown turned by 90 degrees clockwise."""
    rewrite(CASES / "exif.jpg", tmp_path / "out.png")
    with av.open(str(CASES / "exif.jpg")) as container:
        stored = next(container.decode(video=0))
        lying = stored.to_ndarray(format="rgb24").astype(int)
    upright = picture(tmp_path / "out.png")
    assert np.abs(upright - np.rot90(lying, -1)).mean() < 6


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".y4m"])
def test_transparency_of_vp9_is_said_and_its_tag_dropped(tmp_path: Path, suffix: str) -> None:
    warnings = rewrite(CASES / "vp9_alpha.webm", tmp_path / f"out{suffix}")
    assert any("transparency" in text for text in warnings)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}


def dolby_vision(path: Path, profile: int, compatible_with: int) -> Path:
    """An MP4 file with a configuration record in its sample entry; the boxes around it grow with it."""
    make_clip(path, "libx265", "yuv420p10le", count=3, codec_tag="hvc1")
    content = bytearray(path.read_bytes())
    numbers = (profile << 9) | (3 << 3) | 0b101
    record = bytes([1, 0]) + numbers.to_bytes(2, "big") + bytes([compatible_with << 4]) + bytes(19)
    box = (8 + len(record)).to_bytes(4, "big") + b"dvcC" + record
    at = content.index(b"moov") - 4
    assert content.index(b"mdat") < at, "places in the file must not move"
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):
        at = content.index(name, at) - 4
        size = int.from_bytes(content[at : at + 4], "big")
        content[at : at + 4] = (size + len(box)).to_bytes(4, "big")
        end = at + size
    content[end:end] = box
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("profile", "compatible_with", "found"), [(5, 0, 5), (8, 1, None), (8, 4, None), (7, 6, None)]
)
def test_profiles_of_dolby_vision(
    tmp_path: Path, profile: int, compatible_with: int, found: int | None
) -> None:
    with Reader(dolby_vision(tmp_path / "dv.mp4", profile, compatible_with)) as reader:
        assert reader.info.dolby_vision == found
        assert len(list(reader)) == 3


def test_metadata_of_pictures_tells_where_the_container_does_not() -> None:
    """AVDOVIMetadata begins with the places of its parts; FFmpeg, libavutil/dovi_meta.h."""
    head = struct.pack("3N", 64, 80, 200).ljust(64, b"\0")

    def header(profile: int, full_range: int) -> bytes:
        return head + struct.pack("BxHBBBBBBB", 2, 18, profile, 6, 0, 0, 23, 1, full_range)

    assert is_ipt(header(0, 1))
    assert not is_ipt(header(1, 0)) and not is_ipt(header(0, 0)) and not is_ipt(b"")


def test_nothing_is_said_of_a_plain_video(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", "libx265", count=2)
    assert rewrite(source, tmp_path / "out.mkv") == []
    with Reader(source) as reader:
        assert reader.info.dolby_vision is None and not reader.info.transparent
