"""Runs that end early: what is finished is kept and verified, the rest is made, and the file is the same."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from tiny_weights import write_tiny
from work_folders import interrupting, settings_for, write_input

from vqe_cli.errors import VqeError
from vqe_cli.runs import journal, segmented
from vqe_cli.runs.report import Resumed
from vqe_cli.runs.run import enhance
from vqe_cli.video.coded import CodedFile


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with input, weights, a file of an undisturbed run, and a run interrupted at frame 26 of 36."""
    folder = tmp_path_factory.mktemp("begun")
    write_input(folder / "in.mkv")
    write_tiny(folder / "tiny.safetensors")
    enhance(settings_in(folder, output="whole.mkv"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(segmented, "WRITE_AHEAD", 1)  # so that what is enhanced is encoded, too
        enhance(settings_in(folder), interrupting(26))
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    """A copy of it."""
    return shutil.copytree(begun, tmp_path / "copy")


def settings_in(folder, output="out.mkv", **chosen):
    return settings_for(folder / "in.mkv", folder / output, folder / "tiny.safetensors", **chosen)


def work(folder):
    return folder / "out.mkv.vqe-work"


def complete(folder) -> bool:
    """Whether the output is that of the undisturbed run, byte for byte, and nothing is left beside it."""
    same = (folder / "out.mkv").read_bytes() == (folder / "whole.mkv").read_bytes()
    return same and not work(folder).exists()


def test_what_is_finished_is_kept(folder, monkeypatch) -> None:
    """The same bytes; only what is missing is enhanced, and only the frames around it are decoded."""
    finished = len(list(work(folder).glob("*.segment")))
    assert finished >= 2 and not list(work(folder).glob("*.part"))
    decoded = []
    original = segmented.recalled

    def counting(frames, *given):
        return original((decoded.append(frame.index) or frame for frame in frames), *given)

    monkeypatch.setattr(segmented, "recalled", counting)
    events = []
    report = enhance(settings_in(folder), events.append)
    assert complete(folder)
    [resumed] = [event for event in events if isinstance(event, Resumed)]
    assert resumed.segments == finished and 8 <= resumed.frames == report.kept_frames <= 26
    assert decoded[0] > 0 and decoded[-1] == 35


def test_again_and_again(folder) -> None:
    for at in (27, 30, 36):
        with pytest.raises(KeyboardInterrupt):
            enhance(settings_in(folder), interrupting(at))
    enhance(settings_in(folder))
    assert complete(folder)


def test_an_entry_that_gives_other_pictures_is_not_used(folder, monkeypatch) -> None:
    """Decoding begins at the beginning where a random access picture is none, as in some streams."""
    from vqe_cli.video.reader import Entry

    monkeypatch.setattr(
        segmented, "entry_before", lambda remembered, index: Entry(3, remembered[8].frame.pts)
    )
    enhance(settings_in(folder))
    assert complete(folder)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"crf": 20.0}, "--crf was not given and is 20"),
        ({"tta": 2}, "--tta was not given and is 2"),
        ({"chunk": 5}, "--chunk was 4 and is 5"),
        ({"codec": "libx264"}, "--codec was libx265 and is libx264"),
        ({"encoder_options": {"preset": "fast"}}, "-e was not given and is preset=fast"),
        ({"pqf": "none"}, "--pqf was auto and is none"),
        ({"start": 1}, "--start was 0 and is 1"),
        ({"segment": 0}, "other settings"),
    ],
)
def test_other_settings_are_refused_by_name(chosen, named, folder) -> None:
    with pytest.raises(VqeError, match="--restart") as refused:
        enhance(settings_in(folder, **chosen))
    assert named in refused.value.message
    assert work(folder).exists() and not (folder / "out.mkv").exists()


def test_other_weights_or_input_are_refused(folder) -> None:
    kept = (folder / "tiny.safetensors").read_bytes()
    write_tiny(folder / "tiny.safetensors", seed=5)
    with pytest.raises(VqeError, match="the weights have changed"):
        enhance(settings_in(folder))
    (folder / "tiny.safetensors").write_bytes(kept)
    os.utime(folder / "in.mkv", ns=(0, 0))
    with pytest.raises(VqeError, match="the input has changed"):
        enhance(settings_in(folder))


def test_restart_forgets(folder) -> None:
    events = []
    report = enhance(settings_in(folder, chunk=5, restart=True), events.append)
    assert report.kept_frames == 0 and not work(folder).exists()
    assert not [event for event in events if isinstance(event, Resumed)]


def test_a_damaged_segment_is_made_again(folder) -> None:
    segment = work(folder) / "00000.segment"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    report = enhance(settings_in(folder))
    assert complete(folder) and any("segment 0" in text for text in report.warnings)


def test_a_torn_last_line_is_no_damage(folder) -> None:
    with (work(folder) / journal.JOURNAL).open("a") as file:
        file.write('{"kind": "segm')
    enhance(settings_in(folder))
    assert complete(folder)


@pytest.mark.parametrize(
    "line", ["nonsense\n", '{"kind": "segment"}\n', '{"kind": "frames", "first": 7, "rows": []}\n']
)
def test_a_damaged_journal_is_said(line, folder) -> None:
    with (work(folder) / journal.JOURNAL).open("a") as file:
        file.write(line)
    with pytest.raises(VqeError, match=r"is damaged.*--restart"):
        enhance(settings_in(folder))


def test_another_version_is_said(folder) -> None:
    path = work(folder) / journal.JOURNAL
    first, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(first), "vqe": "0.0.7"}) + "\n" + rest)
    with pytest.raises(VqeError, match=r"another version of vqe \(0\.0\.7\)"):
        enhance(settings_in(folder))


def test_a_second_process_says_so(folder) -> None:
    """The lock is held by another process, and free as soon as that is gone."""
    hold = (
        "import sys; from pathlib import Path; from vqe_cli.runs.journal import claimed\n"
        "with claimed(Path(sys.argv[1]), Path('out.mkv')): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(work(folder))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(VqeError, match="another process is writing"):
        enhance(settings_in(folder))
    other.kill()
    other.wait()
    enhance(settings_in(folder))
    assert complete(folder)


def test_disk_full_in_the_middle(folder, monkeypatch) -> None:
    """What is finished survives, what is missing is said, and with room it goes on."""

    def full(self, coded) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CodedFile, "add", full)
    with pytest.raises(VqeError, match=r"\d finished segments are kept .* about \d+ MiB more") as told:
        enhance(settings_in(folder))
    assert "same command" in told.value.remedy
    assert not list(work(folder).glob("*.part")) and not (folder / "out.mkv").exists()
    monkeypatch.undo()
    enhance(settings_in(folder))
    assert complete(folder)


def test_input_that_changes_while_it_is_enhanced(folder) -> None:
    def listen(event) -> None:
        if getattr(event, "frames", None) == 30:
            os.utime(folder / "in.mkv", ns=(1, 1))

    with pytest.raises(VqeError, match=r"in\.mkv has changed"):
        enhance(settings_in(folder), listen)
    assert not (folder / "out.mkv").exists()


def test_ended_between_the_complete_file_and_the_end(folder, monkeypatch) -> None:
    """The file is there, its work folder too: the next run only clears up, and tells the report."""

    def interrupted(self) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal.Journal, "remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        enhance(settings_in(folder))
    monkeypatch.undo()
    assert work(folder).exists()
    assert enhance(settings_in(folder)).frames == 36
    assert complete(folder)


def test_a_part_by_its_times_is_resumed(folder, monkeypatch) -> None:
    monkeypatch.setattr(segmented, "WRITE_AHEAD", 1)
    part = {"from_": 0.3, "to": 1.3}  # frames 8 to 32 of 36, decoded from the eighth on
    enhance(settings_in(folder, output="part.mkv", **part))
    with pytest.raises(KeyboardInterrupt):
        enhance(settings_in(folder, output="again.mkv", **part), interrupting(20))
    report = enhance(settings_in(folder, output="again.mkv", **part))
    assert 0 < report.kept_frames < report.frames == 25
    assert (folder / "again.mkv").read_bytes() == (folder / "part.mkv").read_bytes()
