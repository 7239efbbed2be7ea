"""Files whose clock jumps: frames keep their distances, and the other streams follow by the same offset.

What is right is what FFmpeg's stream copy writes (`ffmpeg -i joined.ts -c copy out.mkv`, FFmpeg 5.1): the
steps of the video across each jump are stored here, and compared with the program where it is there.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from joined_clips import joined, make_recording, packet_times, rewrite, steps

from vqe_cli.video.inspect import inspect
from vqe_cli.video.reader import Reader
from vqe_cli.video.sent_packets import decoded, packets_between

CASE = DATA / "cases" / "joined_video.ts"
# 26 hours, 30 minutes and 43.717 seconds: here clocks of 33 bits wrap.
WRAP_S = 2**33 / 90_000
# Where the clocks of the parts begin; more than 10 seconds ahead is a jump, less is a gap.
JOINED = {
    "twice": [0, 0],
    "hours ahead, and back": [0, 10_800, 0],
    "wraps in the first part": [WRAP_S - 2, 100],
    "wraps twice": [WRAP_S - 2, 100, WRAP_S - 2, 100],
    "a second ahead": [0, 2],
    "three days": [0, 20_000, 50_000, 500],
}


def test_frames_of_a_joined_file_keep_their_distances(tmp_path: Path) -> None:
    output, warnings = rewrite(CASE, tmp_path / "out.mkv")
    times = packet_times(output, "video")
    assert len(times) == 80
    assert set(steps(times)) == {40}
    [warning] = warnings
    assert str(CASE) in warning and "jump once" in warning


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("name", JOINED)
def test_sound_follows_the_video_across_every_jump(tmp_path: Path, name: str, suffix: str) -> None:
    parts = [
        make_recording(tmp_path / f"{number}{suffix}", offset) for number, offset in enumerate(JOINED[name])
    ]
    source = joined(tmp_path / f"joined{suffix}", parts)
    output, warnings = rewrite(source, tmp_path / "out.mkv")
    video, sound = packet_times(output, "video"), packet_times(output, "audio")
    assert len(video) == 25 * len(parts)
    assert len(sound) == sum(len(packet_times(part, "audio")) for part in parts)
    shown = [sorted(packet_times(part, "video")) for part in parts]
    seam = steps([shown[0][-1], shown[1][0]])  # a gap stays as it is
    assert [step for step in steps(video) if step != 40] == (seam if name == "a second ahead" else [])
    assert len(warnings) <= 1
    position = heard = 0
    for part, before in zip(parts, shown, strict=True):  # sound minus video, before and after
        after = video[position:]
        heard_before = packet_times(part, "audio")
        shift = after[0] - before[0]
        moved = np.array(sound[heard : heard + len(heard_before)]) - np.array(heard_before)
        # A packet or two at a seam may begin while the last one of the part before goes on.
        assert np.allclose(moved[3:], shift, atol=1.6e-3)
        assert np.allclose(moved[:3], shift, atol=0.05)
        position, heard = position + len(before), heard + len(heard_before)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
@pytest.mark.parametrize("name", JOINED)
def test_times_are_those_of_ffmpegs_stream_copy(tmp_path: Path, name: str) -> None:
    parts = [make_recording(tmp_path / f"{number}.ts", offset) for number, offset in enumerate(JOINED[name])]
    source = joined(tmp_path / "joined.ts", parts)
    output, _ = rewrite(source, tmp_path / "out.mkv")
    copy = tmp_path / "copy.mkv"
    subprocess.run(["ffmpeg", "-v", "fatal", "-i", source, "-c", "copy", copy], check=True)
    ours, theirs = packet_times(output, "video"), sorted(packet_times(copy, "video"))
    # FFmpeg goes by the stream that comes first at a seam, be it sound: that may differ by a part of a frame.
    assert np.allclose(np.diff(ours), np.diff(theirs), atol=0.03)
    late = packet_times(output, "audio")[-1] - ours[-1]
    assert late == pytest.approx(packet_times(copy, "audio")[-1] - theirs[-1], abs=0.03)


def test_inspect_lists_the_same_times() -> None:
    with Reader(CASE) as reader:
        times = [frame.pts for frame in reader]
    for duplicates in (True, False):
        found = inspect(CASE, duplicates=duplicates)
        assert [frame.pts for frame in found.frames] == times
        assert any("jump once" in warning for warning in found.warnings)


@pytest.mark.parametrize("name", ["joined_video.ts", "cut.mp4", "no_first_key.mkv", "h264_bframes.avi"])
def test_packets_for_other_machines_give_the_same_pictures(name: str) -> None:
    """Those that are hidden or left out are so there, too."""
    with Reader(CASE.with_name(name)) as reader:
        frames = list(reader)
        packets = packets_between(CASE.with_name(name), reader.info, None, None)
    others = list(decoded(packets))
    assert [frame.index for frame in others] == [frame.index for frame in frames]
    if name != "h264_bframes.avi":  # packets do not tell times there
        assert [frame.pts for frame in others] == [frame.pts for frame in frames]
    for frame, other in zip(frames, others, strict=True):
        assert np.array_equal(frame.planes[0], other.planes[0])


def test_a_video_that_begins_before_zero_is_moved_to_zero(tmp_path: Path) -> None:
    source = make_recording(tmp_path / "wraps.ts", WRAP_S - 2.2)
    assert packet_times(source, "video")[0] < -0.5
    output, warnings = rewrite(source, tmp_path / "out.mkv")
    video, sound = packet_times(output, "video"), packet_times(output, "audio")
    assert video[0] == 0 and set(steps(video)) == {40}
    late = packet_times(source, "audio")[0] - min(packet_times(source, "video"))
    assert sound[0] - video[0] == pytest.approx(late, abs=2e-3)
    assert warnings == []
