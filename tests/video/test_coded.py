"""Coded pictures between encoder and container: kept bit for bit, with times that a container takes."""

from itertools import pairwise

import av
import pytest
from conftest import ROOT, shared_path

from vqe_cli.files import sha256_of
from vqe_cli.video.coded import Coded, CodedFile, decoding_times, read_coded, times_of


def test_what_is_kept_comes_back(tmp_path) -> None:
    file = CodedFile(tmp_path / "1.segment")
    pictures = [Coded(b"abc", 7, 2), Coded(b"", 3, None, False), Coded(bytes(1000), -5, 0)]
    for picture in pictures:
        file.add(picture)
    assert not file.path.exists()
    file.complete()
    assert list(read_coded(file.path)) == pictures
    assert list(times_of(file.path)) == [7, 3, -5]
    assert (file.count, file.bytes) == (3, file.path.stat().st_size)
    assert file.sha256 == sha256_of(file.path)
    assert [path.name for path in tmp_path.iterdir()] == ["1.segment"]


def test_what_is_discarded_leaves_nothing(tmp_path) -> None:
    file = CodedFile(tmp_path / "1.segment")
    file.add(Coded(b"abc", 7))
    file.discard()
    assert not list(tmp_path.iterdir())


STREAMS = ["hevc/containers/hm_ra_qp37.hvc1.mp4", "samples/lq/bunny.mkv"]


@pytest.mark.parametrize("name", STREAMS)
def test_decoding_times_are_as_early_as_those_of_a_real_stream(name: str) -> None:
    """No container takes a picture that is decoded after it is shown, or at the time of another."""
    path = ROOT / name if name.startswith("samples") else shared_path(name)
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    due = list(decoding_times(times))
    assert len(due) == len(times)
    assert all(one < other for one, other in pairwise(due))
    assert all(one <= shown for one, shown in zip(due, times, strict=True))
    assert any(one == shown for one, shown in zip(due, times, strict=True)), "later than need be"


def test_decoding_times_where_frames_come_at_an_uneven_pace() -> None:
    """Two groups of pictures of three, the second slower: its own times would begin too early."""
    assert list(decoding_times([0, 2, 1, 100, 500, 300])) == [-1, 0, 1, 2, 100, 300]
