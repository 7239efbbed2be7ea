"""What is called damaged: packets that are missing or cannot be decoded; never what an edit list hides, an
empty chunk stands for, or what needs a key picture that was cut away.
"""

from pathlib import Path

import av
import pytest
from conftest import DATA
from joined_clips import make_recording
from tiny_clips import make_clip

from vqe_cli.video.damage import is_cut_short
from vqe_cli.video.inspect import inspect
from vqe_cli.video.reader import Reader

CASES = DATA / "cases"


def read(path: Path) -> tuple[int, list[str]]:
    with Reader(path) as reader:
        return sum(1 for _ in reader), reader.warnings


def test_what_an_edit_list_hides_is_no_damage() -> None:
    """31 pictures are in the cut; decoders show 29, for two before its beginning are hidden (ffprobe)."""
    assert read(CASES / "cut.mp4") == (29, [])
    assert len(inspect(CASES / "cut.mp4").frames) == 29


def test_pictures_that_are_left_out_at_the_start_are_counted() -> None:
    frames, warnings = read(CASES / "no_first_key.mkv")
    assert frames == 30
    assert len(warnings) == 1 and " 6 pictures" in warnings[0] and "damaged" not in warnings[0]
    for duplicates in (True, False):
        listed = inspect(CASES / "no_first_key.mkv", duplicates=duplicates)
        assert len(listed.frames) == 30
        assert any(" 6 pictures" in warning for warning in listed.warnings)


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_the_same_of_a_recording_that_was_begun_in_the_middle(tmp_path: Path, codec: str) -> None:
    whole = make_recording(tmp_path / "whole.ts", seconds=2, codec=codec)
    content = whole.read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[188 * (len(content) // 188 // 4) :])
    frames, warnings = read(tmp_path / "cut.ts")
    assert 20 < frames < 50
    assert all("undecodable" not in warning and "cannot be decoded" not in warning for warning in warnings)


def with_empty_chunks(path: Path, pictures: int = 20, every: int = 4) -> Path:
    """An AVI file whose pictures are shown for several chunks: FFmpeg fills the gaps with empty ones."""
    plain = make_clip(path.with_name("plain.avi"), "mpeg4", count=pictures)
    with av.open(str(plain)) as container, av.open(str(path), "w") as output:
        source = container.streams.video[0]
        stream = output.add_stream_from_template(source, opaque=True)
        for packet in container.demux(source):
            if packet.size:
                packet.pts = packet.dts = packet.dts + packet.dts // every * 5
                packet.stream = stream
                output.mux(packet)
    return path


def test_empty_chunks_are_no_damage(tmp_path: Path) -> None:
    path = with_empty_chunks(tmp_path / "empty.avi")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > 20
    frames, warnings = read(path)
    assert (frames, warnings) == (20, [])
    with Reader(path) as reader:
        times = [frame.pts for frame in reader]
    assert times == [number + number // 4 * 5 for number in range(20)]


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_a_file_that_is_cut_short_is_damaged_and_a_whole_one_is_not(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    whole = make_clip(tmp_path / f"whole{suffix}", codec, count=50)
    if suffix == ".mp4":  # the index at the start
        with (
            av.open(str(whole)) as source,
            av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "faststart"}) as output,
        ):
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
        whole = tmp_path / "f.mp4"
    assert read(whole) == (50, [])
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: len(content) * (8 if suffix == ".avi" else 6) // 10])  # 5 kB of header
    frames, warnings = read(cut)
    assert 10 < frames < 50
    assert len(warnings) == 1 and "is damaged" in warnings[0] and str(cut) in warnings[0]


def test_a_wrong_count_in_a_header_is_no_damage(tmp_path: Path) -> None:
    """The stream's header of an AVI file (dwLength of strh) promises 1000 pictures, the file has 20."""
    path = make_clip(tmp_path / "clip.avi", "mpeg4", count=20)
    content = bytearray(path.read_bytes())
    length = content.index(b"strh") + 8 + 32
    assert int.from_bytes(content[length : length + 4], "little") == 20
    content[length : length + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    assert read(path) == (20, [])


def test_sizes_of_files_are_read_from_their_beginnings(tmp_path: Path) -> None:
    segment = bytes.fromhex("1A45DFA3 83 000000 18538067 01FFFFFFFFFFFFFF 00")  # of unknown size
    for name, content, cut in (
        ("unknown.mkv", segment, False),
        ("short.mkv", bytes.fromhex("1A45DFA3 83 000000 18538067 4010 00"), True),
        ("none.ts", b"\x47" * 188, False),
        ("short.avi", b"RIFF" + (100).to_bytes(4, "little") + b"AVI ", True),
        ("unfinished.avi", b"RIFF\0\0\0\0AVI ", False),
        ("torn", b"RI", False),
        ("torn.mkv", bytes.fromhex("1A45DFA3"), False),
    ):
        (tmp_path / name).write_bytes(content)
        assert is_cut_short(tmp_path / name) == cut, name
