"""An input that changes while it is read is noticed, however it is enhanced; nothing of others is touched."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from work_folders import frame_hashes, settings_for, write_all

from vqe_cli.ensemble.results import Results, fuse_results
from vqe_cli.errors import VqeError
from vqe_cli.runs.report import Report
from vqe_cli.runs.run import enhance
from vqe_cli.weights.ensembles import Fusion

WHOLE, SEGMENTS = 0, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for name in ("in.mkv", "tiny.safetensors", "alone.mkv"):
        shutil.copy2(made / name, tmp_path / name)
    return tmp_path


def run(folder: Path, segment: int, listen: Callable[[object], None] = lambda event: None, **more) -> Report:
    names = ("in.mkv", "out.mkv", "tiny.safetensors")
    return enhance(settings_for(*(folder / name for name in names), segment=segment, **more), listen)


def at_frame(number: int, act: Callable[[], object]) -> Callable[[object], None]:
    def listen(event: object) -> None:
        if hasattr(event, "total") and getattr(event, "frames", None) == number:
            act()

    return listen


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[:-1] + b"\0")
    shutil.copystat(path, other)
    other.replace(path)


@pytest.mark.parametrize("segment", [WHOLE, SEGMENTS])
@pytest.mark.parametrize("change", [cut, replace, Path.unlink, lambda path: os.utime(path, ns=(1, 1))])
def test_an_input_that_changes_is_noticed(folder: Path, segment: int, change: Callable[[Path], None]) -> None:
    with pytest.raises(VqeError, match=r"in\.mkv has changed"):
        run(folder, segment, at_frame(2, lambda: change(folder / "in.mkv")))
    left = {path.name for path in folder.iterdir()} - {"in.mkv", "out.mkv.vqe-work"}
    assert left == {"tiny.safetensors", "alone.mkv"}


def test_results_that_change_while_they_are_fused(folder: Path) -> None:
    shutil.copy2(folder / "alone.mkv", folder / "other.mkv")
    members = Results((folder / "alone.mkv", folder / "other.mkv"))

    def touch(*_: object) -> None:
        os.utime(folder / "other.mkv", ns=(1, 1))

    with pytest.raises(VqeError, match=r"other\.mkv has changed"):
        fuse_results(members, folder / "out.mkv", Fusion("mean"), progress=touch)
    assert not (folder / "out.mkv").exists()


@pytest.mark.parametrize("segment", [WHOLE, SEGMENTS])
def test_an_output_that_appears_meanwhile_is_kept(folder: Path, segment: int) -> None:
    out = folder / "out.mkv"
    with pytest.raises(VqeError, match=r"out\.mkv.*--overwrite"):
        run(folder, segment, at_frame(2, lambda: out.write_bytes(b"theirs")))
    assert out.read_bytes() == b"theirs"
    run(folder, segment, overwrite=True)
    assert len(frame_hashes(out)) == 36
    assert {path.name for path in folder.iterdir()} == {"in.mkv", "tiny.safetensors", "alone.mkv", "out.mkv"}


@pytest.mark.parametrize("segment", [WHOLE, SEGMENTS])
def test_a_work_folder_of_others_is_left(folder: Path, segment: int) -> None:
    work = folder / "out.mkv.vqe-work"
    work.mkdir()
    (work / "precious").write_bytes(b"theirs")
    with pytest.raises(VqeError, match=r"vqe-work.*precious"):
        run(folder, segment)
    assert [path.name for path in work.iterdir()] == ["precious"] and not (folder / "out.mkv").exists()


@pytest.mark.parametrize("segment", [WHOLE, SEGMENTS])
@pytest.mark.parametrize("name", ["lock", "journal.jsonl", "00000.segment", ""])
def test_links_in_place_of_what_a_run_writes(folder: Path, segment: int, name: str) -> None:
    work, theirs = folder / "out.mkv.vqe-work", folder / "theirs"
    theirs.mkdir()
    (theirs / "journal.jsonl").write_bytes(b"theirs")
    if name:
        work.mkdir()
        (work / name).symlink_to(theirs / "journal.jsonl")
    else:
        work.symlink_to(theirs)
    with pytest.raises(VqeError, match="vqe-work"):
        run(folder, segment, restart=True)
    assert (theirs / "journal.jsonl").read_bytes() == b"theirs"
    assert len(list(theirs.iterdir())) == 1 and (work / name).is_symlink()


@pytest.mark.parametrize("segment", [WHOLE, SEGMENTS])
def test_hidden_files_of_desktops_are_left(folder: Path, segment: int) -> None:
    work = folder / "out.mkv.vqe-work"
    work.mkdir()
    (work / ".DS_Store").write_bytes(b"theirs")
    run(folder, segment)
    assert len(frame_hashes(folder / "out.mkv")) == 36
    assert [path.name for path in work.iterdir()] == [".DS_Store"]


def test_a_journal_that_is_not_ours_is_not_removed(folder: Path) -> None:
    work = folder / "out.mkv.vqe-work"
    work.mkdir()
    (work / "journal.jsonl").write_bytes(b"the diary of somebody else\n")
    for segment in (WHOLE, SEGMENTS):
        with pytest.raises(VqeError, match="vqe-work"):
            run(folder, segment)
        assert (work / "journal.jsonl").read_bytes() == b"the diary of somebody else\n"
