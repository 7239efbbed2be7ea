"""A video in segments: enhanced as in one piece bit for bit, joined without a seam."""

import pytest
from tiny_weights import write_recurrent, write_tiny
from work_folders import frame_hashes, hashes_of_segments, settings_for, write_input

from vqe_cli.restore.chunks import Chunk
from vqe_cli.restore.summaries import NO_PLANES
from vqe_cli.runs import run as runs
from vqe_cli.runs.journal import Journal
from vqe_cli.runs.report import Progress
from vqe_cli.runs.run import enhance
from vqe_cli.runs.segments import numbered
from vqe_cli.video.frame import Frame
from vqe_cli.video.writer import Writer


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_input(tmp_path_factory.mktemp("input") / "in.mkv")


@pytest.fixture
def tiny(tmp_path):
    write_tiny(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def numbers(sizes: list[int], opens: set[int], size: int) -> list[int]:
    frame = Frame(0, NO_PLANES, None)
    chunks = [Chunk((frame,), 0, 1, ((frame,) * count,), at in opens) for at, count in enumerate(sizes)]
    return [number for number, _ in numbered(chunks, size)]


def test_segments_are_whole_chunks_and_end_at_scenes() -> None:
    assert numbers([4, 4, 4, 4, 4], {0}, 8) == [0, 0, 1, 1, 2]
    assert numbers([4, 4, 4], {0, 1, 2}, 8) == [0, 1, 2], "a scene of half the size is a segment"
    assert numbers([3, 3, 3], {0, 1, 2}, 8) == [0, 0, 1], "shorter scenes share one"
    assert numbers([20, 1], {0}, 8) == [0, 1], "a chunk is never divided"


def test_a_recurrent_network_notices_no_segments(source, tmp_path) -> None:
    """Lossless: every sample and time of every frame, features and peaks across the seams included."""
    weights = write_recurrent(tmp_path / "recurrent.safetensors")
    chosen = {"codec": "ffv1", "overlap": 3}
    whole = enhance(settings_for(source, tmp_path / "whole.mkv", weights, segment=0, **chosen))
    events = []
    parts = enhance(settings_for(source, tmp_path / "parts.mkv", weights, **chosen), events.append)
    assert frame_hashes(tmp_path / "parts.mkv") == frame_hashes(tmp_path / "whole.mkv")
    assert parts.frames == whole.frames == 36
    for name in ("pqf_count", "pqf_source", "duplicates", "scene_cuts", "warnings"):
        assert getattr(parts, name) == getattr(whole, name)
    assert [event.frames for event in events if isinstance(event, Progress)] == list(range(37))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "parts.mkv",
        "recurrent.safetensors",
        "whole.mkv",
    ]


@pytest.mark.parametrize(
    ("name", "codec", "decoder"),
    [
        ("out.mkv", "libx265", "hevc"),
        ("out.mp4", "libx265", "hevc"),
        ("out.ts", "libx265", "hevc"),
        ("out.mp4", "libx264", "h264"),
        ("out.mkv", "ffv1", "ffv1"),
    ],
)
def test_joining_loses_nothing(name, codec, decoder, source, tiny, tmp_path, monkeypatch) -> None:
    """The joined file shows the pictures of the segments decoded one by one, at the input's times."""
    kept: list[list[str]] = []

    def look(self) -> None:
        kept.append(hashes_of_segments(self, decoder, headers[-1]))

    headers: list[bytes] = []
    join = Writer.join
    monkeypatch.setattr(Journal, "remove", look)
    monkeypatch.setattr(
        Writer, "join", lambda self, *given: headers.append(self.header) or join(self, *given)
    )
    enhance(settings_for(source, tmp_path / name, tiny, codec=codec))
    joined = frame_hashes(tmp_path / name)
    assert [shown for _, shown in joined] == kept[0] and len(joined) == 36
    whole = tmp_path / f"whole{name[3:]}"
    monkeypatch.undo()
    enhance(settings_for(source, whole, tiny, codec=codec, segment=0))
    assert [time for time, _ in joined] == [time for time, _ in frame_hashes(whole)]


@pytest.mark.parametrize("name", ["out.y4m", "out/%03d.png"])
def test_raw_planes_and_images_are_the_same_files(name, source, tiny, tmp_path) -> None:
    for folder, segment in (("whole", 0), ("parts", 8)):
        (tmp_path / folder).mkdir()
        enhance(settings_for(source, tmp_path / folder / name, tiny, segment=segment, start=2, frames=30))
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*") if path.is_file()}
        for folder in ("whole", "parts")
    )
    assert one == other and len(one) == (30 if "png" in name else 1)


def test_a_short_video_has_no_segments(source, tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runs, "Run", None)
    assert enhance(settings_for(source, tmp_path / "out.mkv", tiny, segment=18)).frames == 36
