"""A file to a file with tiny networks: complete and exact, or nothing at all."""

import errno
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import shared_path
from tiny_weights import write_tiny, write_zero

from vqe_cli.errors import VqeError
from vqe_cli.files import sha256_of
from vqe_cli.runs import run as runs
from vqe_cli.runs.report import Notice, Progress, Summary
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings
from vqe_cli.video.reader import Reader
from vqe_cli.video.writer import Writer

SMALL = "hevc/streams/hm_ldp_cuts.bin"  # 176x144, 48 frames, no colour tags


@pytest.fixture
def tiny(tmp_path) -> Path:
    write_tiny(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def zero(tmp_path) -> Path:
    return write_zero(tmp_path / "zero.safetensors")


def settings_for(output: Path, weights: Path, **chosen) -> Settings:
    options = {"device": "cpu", "precision": "fp32", "codec": "ffv1", **chosen}
    return Settings(shared_path(SMALL), output, weights=(weights,), **options)


def planes_of(path: Path) -> list[tuple[np.ndarray, ...]]:
    with Reader(path) as reader:
        return [frame.planes for frame in reader]


def nothing_left(folder: Path) -> bool:
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("vqe-")]
    return not threads and {path.suffix for path in folder.iterdir()} <= {".safetensors"}


def test_a_network_that_changes_nothing_gives_the_input(tmp_path, zero) -> None:
    """Through a lossless file every sample of every frame is the decoded one."""
    report = enhance(settings_for(tmp_path / "out.mkv", zero))
    source, written = planes_of(shared_path(SMALL)), planes_of(tmp_path / "out.mkv")
    assert len(source) == len(written) == report.frames == 48
    for one, other in zip(source, written, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_report_and_events(tmp_path, tiny) -> None:
    events = []
    report = enhance(settings_for(tmp_path / "out.mkv", tiny, start=3, frames=20), events.append)
    plan = next(event for event in events if isinstance(event, Summary))
    assert plan.frames == 20 and plan.size_out == (176, 144)
    done = [event.frames for event in events if isinstance(event, Progress)]
    assert done == list(range(1, 21))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("colour matrix" in text for text in notices)
    told = json.loads(json.dumps(report.as_dict()))
    assert told["frames"] == 20 and told["scene_cuts"] == 1
    assert told["weights"] == [{"stage": 1, "file": str(tiny), "sha256": sha256_of(tiny)}]
    assert told["warnings"] == notices
    assert told["pqf_source"] == "qp" and 3 <= told["pqf_count"] <= 7
    seconds = told["seconds"]
    assert all(seconds[part] > 0 for part in ("decode", "stage_1", "encode")) and seconds["stage_2"] == 0
    assert told["fps"] == pytest.approx(20 / told["wall_s"], rel=0.01)


def test_interrupted(tmp_path, tiny) -> None:
    def listen(event) -> None:
        if isinstance(event, Progress) and event.frames == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enhance(settings_for(tmp_path / "out.mkv", tiny), listen)
    assert nothing_left(tmp_path)


def test_disk_full_while_writing(tmp_path, tiny, monkeypatch) -> None:
    """The writer's thread fails; its error arrives once, as it was, and all stops."""
    written = []

    def full(self, planes, frame) -> None:
        written.append(frame.index)
        if len(written) == 5:
            raise VqeError("The disk is full.") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(VqeError, match="disk is full"):
        enhance(settings_for(tmp_path / "out.mkv", tiny, segment=0))
    assert len(written) == 5 and nothing_left(tmp_path)


def test_input_that_breaks_on_the_way(tmp_path, tiny, monkeypatch) -> None:
    original = Reader.__iter__

    def breaking(self):
        for frame in original(self):
            if frame.index == 30:
                raise VqeError("in.bin changes its picture size at picture 30.")
            yield frame

    monkeypatch.setattr(Reader, "__iter__", breaking)
    with pytest.raises(VqeError, match="changes its picture size"):
        enhance(settings_for(tmp_path / "out.mkv", tiny))
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"device": "cuda:7"}, "--device cuda:7 was asked for"),
        ({"precision": "fp16"}, "fp16 is not for the CPU"),
        ({"tile": 64, "tile_overlap": 32}, "--tile 64 is too small"),
        ({"scale": 2}, "enlarge by 1"),
        ({"pqf": "hm-log"}, "needs the log"),
        ({"stages": "2"}, "no stage II"),
        ({"start": 100}, "has only 48 pictures"),
    ],
)
def test_refused(tmp_path, tiny, chosen, message) -> None:
    with pytest.raises(VqeError, match=message):
        enhance(settings_for(tmp_path / "out.mkv", tiny, **chosen))
    assert nothing_left(tmp_path)


def test_networks_serve_a_second_file(tmp_path, tiny, monkeypatch) -> None:
    calls = []
    original = runs.load_model
    monkeypatch.setattr(runs, "load_model", lambda networks: calls.append(1) or original(networks))
    restorer = runs.Restorer()
    for name in ("a.mkv", "b.mkv"):
        restorer.enhance(settings_for(tmp_path / name, tiny, frames=4))
    assert len(calls) == 1
    one, other = planes_of(tmp_path / "a.mkv"), planes_of(tmp_path / "b.mkv")
    assert all(
        np.array_equal(a, b) for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True)
    )


def test_headers_of_the_input_are_read_once(tiny, tmp_path, monkeypatch) -> None:
    """Plan and run share the reader, in one piece and in segments."""
    opened = []
    original = Reader.__init__
    monkeypatch.setattr(Reader, "__init__", lambda *args, **kw: opened.append(1) or original(*args, **kw))
    for segment in (0, 4):
        chosen = {"frames": 12, "chunk": 4, "segment": segment}
        assert enhance(settings_for(tmp_path / f"{segment}.mkv", tiny, **chosen)).frames == 12
    assert len(opened) == 2
