"""Times do not depend on how a run was divided: segments, parts, runs that were resumed."""

from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from joined_clips import joined, make_recording, packet_times, steps
from tiny_weights import write_tiny
from work_folders import interrupting, settings_for

from vqe_cli.runs import segmented
from vqe_cli.runs.report import Report
from vqe_cli.runs.run import enhance

AVI = DATA / "cases" / "h264_bframes.avi"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and a recording whose clock jumps three hours ahead and back, with the file of a whole run."""
    folder = tmp_path_factory.mktemp("times")
    write_tiny(folder / "tiny.safetensors")
    parts = [make_recording(folder / f"{n}.ts", offset) for n, offset in enumerate([0, 10_800, 0])]
    joined(folder / "in.ts", parts)
    run(folder, folder / "in.ts", "whole.mkv", segment=0)
    return folder


def run(folder: Path, source: Path, output: str, **chosen: object) -> Report:
    return enhance(settings_for(source, folder / output, folder / "tiny.safetensors", **chosen))


def times(path: Path) -> tuple[list[float], list[float]]:
    return packet_times(path, "video"), packet_times(path, "audio")


def test_a_whole_run_is_even(folder: Path) -> None:
    video, _ = times(folder / "whole.mkv")
    assert len(video) == 75
    assert set(steps(sorted(video))) == {40}


def test_segments_have_the_same_times(folder: Path) -> None:
    report = run(folder, folder / "in.ts", "segments.mkv", segment=8)
    whole, divided = times(folder / "whole.mkv"), times(folder / "segments.mkv")
    assert sorted(divided[0]) == sorted(whole[0])
    assert divided[1] == whole[1]
    assert sum("jump 2 times" in warning for warning in report.warnings) == 1


def test_resumed_runs_have_the_same_times(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmented, "WRITE_AHEAD", 1)
    with pytest.raises(KeyboardInterrupt):
        enhance(
            settings_for(folder / "in.ts", folder / "resumed.mkv", folder / "tiny.safetensors"),
            interrupting(40),
        )
    report = run(folder, folder / "in.ts", "resumed.mkv")
    assert report.kept_frames > 0
    whole, resumed = times(folder / "whole.mkv"), times(folder / "resumed.mkv")
    assert sorted(resumed[0]) == sorted(whole[0])
    assert resumed[1] == whole[1]


def test_a_part_behind_a_jump_is_cut_out_of_the_bridged_file(folder: Path) -> None:
    run(folder, folder / "in.ts", "part.mkv", start=40, frames=20)
    video, sound = times(folder / "part.mkv")
    whole_video, whole_sound = times(folder / "whole.mkv")
    whole_video.sort()
    shift = whole_video[40] - whole_video[0]
    assert np.allclose(sorted(video), np.array(whole_video[40:60]) - shift, atol=1.1e-3)
    last = whole_video[59] + 0.04
    expected = [time - shift for time in whole_sound if whole_video[40] - 1e-3 <= time <= last]
    assert np.allclose(sound, expected, atol=1.6e-3)


def test_segments_of_avi_have_the_same_times(folder: Path) -> None:
    run(folder, AVI, "avi.mkv", segment=8)
    video, sound = times(folder / "avi.mkv")
    assert sorted(video) == [pytest.approx(number * 0.04) for number in range(40)]
    assert sound[0] == 0
