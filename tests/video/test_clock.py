"""Times of frames where packets do not tell them well: AVI, broken and missing pts, pictures out of order."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from conftest import DATA
from joined_clips import packet_times, rewrite, steps
from tiny_clips import make_clip, picture

from vqe_cli.video.clock import Clock, ShownTimes
from vqe_cli.video.reader import Reader

CASE = DATA / "cases" / "h264_bframes.avi"
# A picture of MPEG-4 that repeats the one before (vop_coded 0), as encoders put behind packed B-frames.
NOT_CODED = bytes.fromhex("000001b6510000")
# The mark of an encoder that packs; FFmpeg's decoder looks for the "p" at its end.
PACKED = b"\0\0\1\xb2DivX503b1393p"
VOP = b"\0\0\1\xb6"


def times_of(path: Path) -> list[int | None]:
    with Reader(path) as reader:
        return [frame.pts for frame in reader]


def test_b_frames_in_avi_are_even_and_in_step_with_the_sound(tmp_path: Path) -> None:
    """An AVI file tells no more than the order of its packets: the first frame is shown at once."""
    output, warnings = rewrite(CASE, tmp_path / "out.mkv")
    video = packet_times(output, "video")
    assert len(video) == 40 and warnings == []
    assert set(steps(video)) == {40}
    assert packet_times(output, "audio")[0] == video[0] == 0
    assert len(packet_times(output, "audio")) == len(packet_times(CASE, "audio"))


@pytest.mark.parametrize(("codec", "b_frames"), [("mpeg4", 0), ("mpeg4", 1), ("mpeg4", 2), ("libx264", 3)])
def test_frames_of_avi_take_the_times_of_its_chunks(tmp_path: Path, codec: str, b_frames: int) -> None:
    path = make_clip(tmp_path / "clip.avi", codec, count=20, max_b_frames=b_frames)
    with av.open(str(path)) as container:
        chunks = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert times_of(path) == sorted(chunks)
    assert len(chunks) == 20


def test_packed_b_frames_are_even(tmp_path: Path) -> None:
    """Two pictures in one chunk, then an empty one in the place of the second."""
    plain = make_clip(tmp_path / "plain.avi", "mpeg4", count=20, max_b_frames=1)
    with av.open(str(plain)) as container, av.open(str(tmp_path / "packed.avi"), "w") as output:
        source = container.streams.video[0]
        stream = output.add_stream_from_template(source, opaque=True)
        pictures = [bytes(packet) for packet in container.demux(source) if packet.size]
        chunks: list[bytes] = []
        for data in pictures:
            if data[data.index(VOP) + 4] >> 6 == 2:  # vop_coding_type of a B-frame
                chunks[-1] += data
                chunks.append(NOT_CODED)
            else:
                chunks.append(data)
        head = chunks[0].index(VOP)
        chunks[0] = chunks[0][:head] + PACKED + chunks[0][head:]
        for number, data in enumerate(chunks):
            packet = Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, number == 0
            output.mux(packet)
    assert NOT_CODED in chunks
    with Reader(tmp_path / "packed.avi") as reader:
        assert [frame.pts for frame in reader] == list(range(20))
        assert reader.warnings == []


def shown(own: list[int | None], coded: list[tuple[int | None, int | None]], step: int = 10) -> list:
    """The times of pictures with these pts, whose packets (pts, dts) are all read before."""
    times = ShownTimes(step)
    for pts, dts in coded:
        packet = Packet(b"x")
        packet.pts, packet.dts = pts, dts
        times.coded(packet)
    pictures = [picture("gray", 16, 16, 0) for _ in own]
    for each, pts in zip(pictures, own, strict=True):
        each.pts = pts
    return [time for _, time in times.timed(iter(pictures))]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([0, 10, 20, 30], [0, 10, 20, 30]),
        ([0, 10, None, 30], [0, 10, 20, 30]),
        ([None, 10, 20], [0, 10, 20]),
        ([0, 10, 99999, 30, 40], [0, 10, 20, 30, 40]),  # one is far ahead
        ([0, 10, 0, 30, 40], [0, 10, 20, 30, 40]),  # one is far behind
        ([99999, 10, 20], [0, 10, 20]),
        ([0, 10, 10, 20], [0, 10, 15, 20]),  # no room for a whole step
        ([0, 500, 510], [0, 500, 510]),  # a gap is a gap
        ([0, 10, 20, None, None], [0, 10, 20, 30, 40]),
        ([None, None], [None, None]),
    ],
)
def test_a_single_wrong_or_missing_time_lies_between_its_neighbours(own: list, expected: list) -> None:
    assert shown(own, [(pts, None) for pts in own]) == expected


@pytest.mark.parametrize("order", [[0, 3, 1, 2, 6, 4, 5], [0, 4, 2, 1, 3, 8, 6, 5, 7], [0, 2, 1, 4, 3]])
def test_decoding_times_written_as_pts_are_put_in_order(order: list[int]) -> None:
    """FFmpeg's best effort for such streams are the times of decoding, too."""
    own = [10 * number for number in order]
    assert shown(own, [(pts, pts) for pts in sorted(own)]) == sorted(own)


def test_an_undecodable_packet_takes_its_time_along() -> None:
    times = ShownTimes(1)
    packets = []
    for dts in range(6):
        packet = Packet(b"x")
        packet.dts = dts
        packets.append(packet)
        times.coded(packet)
    times.lost(packets[2])
    pictures = [picture("gray", 16, 16, 0) for _ in range(5)]
    for each in pictures:
        each.pts = None
    assert [time for _, time in times.timed(iter(pictures))] == [0, 1, 3, 4, 5]


def test_a_part_of_a_joined_file_starts_where_the_input_starts(tmp_path: Path) -> None:
    source = DATA / "cases" / "joined_video.ts"
    with Reader(source, start=50, frames=4) as reader:
        clock = Clock(reader.info, part=True)
        ticks = [clock.tick(frame) for frame in reader]
    assert ticks == [133200, 136800, 140400, 144000]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_files_whose_pts_are_decoding_times_are_even(tmp_path: Path, suffix: str) -> None:
    plain = make_clip(tmp_path / "plain.mp4", "libx264", count=30, options={"bf": "3", "g": "12"})
    path = tmp_path / f"wrong{suffix}"
    with av.open(str(plain)) as container, av.open(str(path), "w") as output:
        source = container.streams.video[0]
        stream = output.add_stream_from_template(source)
        step = 0
        for number, packet in enumerate(each for each in container.demux(source) if each.size):
            step = packet.duration
            packet.pts = packet.dts = number * packet.duration
            packet.stream = stream
            output.mux(packet)
    assert step
    with av.open(str(path)) as container:
        own = [frame.pts for frame in container.decode(video=0)]
    assert own != sorted(own)  # what the file tells is wrong
    with Reader(path) as reader:
        times = [float(frame.pts * reader.info.time_base) for frame in reader if frame.pts is not None]
        assert set(steps(times)) == {40}
        assert len(times) == 30
