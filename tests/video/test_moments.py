"""Moments of a video found by headers, and the frames around one decoded from near it."""

from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from tiny_clips import make_clip

from vqe_cli.errors import InputError
from vqe_cli.video.inspect import inspect
from vqe_cli.video.moments import frames_around, worst_moments
from vqe_cli.video.probe import probe
from vqe_cli.video.reader import Reader

CLIPS = sorted((DATA / "hevc/containers").glob("*.*"))
KEYS = {"x265-params": "log-level=none:keyint=10:min-keyint=10:bframes=3:cutree=0"}


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("long") / "in.mkv", "libx265", count=80, options=KEYS)


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.name)
def test_the_frames_around_are_those_of_the_whole(path: Path) -> None:
    with Reader(path) as reader:
        whole = list(reader)
        info = reader.info
    start = info.start_pts or 0
    times = [float(((frame.pts or 0) - start) * info.time_base) for frame in whole]
    for index in (0, len(whole) // 2, len(whole) - 1):
        near = frames_around(path, times[index], 2)
        assert near.seconds == pytest.approx(times[index])
        expected = whole[max(0, index - 2) : index + 3]
        found = near.frames[max(0, near.at - 2) :]
        assert [frame.pts for frame in found] == [frame.pts for frame in expected]
        for one, other in zip(found, expected, strict=True):
            assert all(map(np.array_equal, one.planes, other.planes))
            assert one.qp == other.qp


def test_decoding_begins_near_the_moment(long_clip: Path) -> None:
    near = frames_around(long_clip, 70 / 25, 3)
    assert near.frames[near.at].index < 20  # counted from where decoding began


def test_nothing_lies_behind_the_end(long_clip: Path) -> None:
    with pytest.raises(InputError, match="1:00"):
        frames_around(long_clip, 60, 2)


def test_the_most_compressed_pictures_are_found_in_each_stretch(long_clip: Path) -> None:
    frames, info = inspect(long_clip, duplicates=False).frames, probe(long_clip)
    times = worst_moments(long_clip, info, 2)
    assert len(times) == 2 and times[0] < 1.6 <= times[1]
    for seconds, stretch in zip(times, (frames[:40], frames[40:]), strict=True):
        [picture] = [frame for frame in stretch if abs((frame.pts or 0) / 1000 - seconds) < 1e-6]
        assert picture.qp == max(frame.qp or 0 for frame in stretch)


def test_a_video_of_one_frame_has_one_moment(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "one.mkv", count=1)
    assert worst_moments(path, probe(path), 3) == [0.0]
    assert len(frames_around(path, 0, 4).frames) == 1
