"""vqe-report.jsonl: several runs add to it; what is not a report is refused; links are not followed."""

import json
from pathlib import Path

import pytest
from tiny_weights import write_tiny
from work_folders import settings_for, write_input

from vqe_cli.errors import VqeError
from vqe_cli.runs.folder import Started, enhance_folder
from vqe_cli.runs.manifest import NAME, Manifest, Outcome
from vqe_cli.runs.report import Event
from vqe_cli.runs.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "in").mkdir()
    write_input(tmp_path / "in" / "a.mkv")
    (tmp_path / "in" / "b.mkv").write_bytes((tmp_path / "in" / "a.mkv").read_bytes())
    write_tiny(tmp_path / "tiny.safetensors")
    return settings_for(tmp_path / "in", tmp_path / "out", tmp_path / "tiny.safetensors")


def ignore(event: Event | Started | Outcome) -> None:
    pass


def test_two_runs_at_once_keep_one_ledger(settings: Settings) -> None:
    others: list[Outcome] = []

    def watch(event: Started | Outcome) -> None:
        if isinstance(event, Started) and not others:
            others.extend(enhance_folder(settings, ignore, ignore))

    ours = enhance_folder(settings, ignore, watch)
    assert [outcome.status for outcome in others] == ["done", "done"]
    assert [outcome.status for outcome in ours] == ["skipped", "skipped"]
    again = enhance_folder(settings, ignore, ignore)
    assert [outcome.status for outcome in again] == ["skipped", "skipped"]
    lines = [json.loads(line) for line in (settings.output / NAME).read_text().splitlines()]
    assert sorted(line["input"] for line in lines) == ["a.mkv", "b.mkv"]


def test_a_failure_does_not_make_a_result_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"made")
    manifest = Manifest(tmp_path)
    manifest.add(Outcome("a.mkv", "a.mkv", "done"), {"scale": 1})
    manifest.add(Outcome("a.mkv", "a.mkv", "failed", "another process is writing it."), None)
    assert Manifest(tmp_path).state("a.mkv", "a.mkv", {"scale": 1}) == "done"


def test_what_another_run_adds_is_read(tmp_path: Path) -> None:
    manifest, other = Manifest(tmp_path), Manifest(tmp_path)
    (tmp_path / "a.mkv").write_bytes(b"made")
    other.add(Outcome("a.mkv", "a.mkv", "done"), {})
    assert manifest.state("a.mkv", "a.mkv", {}) == "unknown"
    manifest.refresh()
    assert manifest.state("a.mkv", "a.mkv", {}) == "done"


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"made")
    (tmp_path / NAME).write_bytes(b'{"input": "b.mkv", "outp')
    Manifest(tmp_path).add(Outcome("a.mkv", "a.mkv", "done"), {})
    assert Manifest(tmp_path).state("a.mkv", "a.mkv", {}) == "done"


@pytest.mark.parametrize(
    "line",
    [
        b'{"input": "\xff", "output": "a", "status": "done"}',
        b'{"input": 1, "output": "a", "status": "done"}',
        b'{"output": "a", "status": "done"}',
        b'{"input": "a", "output": "a", "status": NaN}',
        b"[" * 100_000 + b"]" * 100_000,
        b"[1]",
        b"null",
    ],
)
def test_what_is_no_report(settings: Settings, line: bytes) -> None:
    settings.output.mkdir()
    (settings.output / NAME).write_bytes(line + b"\n")
    with pytest.raises(VqeError, match=NAME) as caught:
        enhance_folder(settings, ignore, ignore)
    assert caught.value.remedy and len(str(caught.value)) < 400
    assert [path.name for path in settings.output.iterdir()] == [NAME]


def test_a_report_that_cannot_be_read(settings: Settings) -> None:
    victim = settings.output.with_name("victim")
    victim.write_bytes(b"")
    settings.output.mkdir()
    place = settings.output / NAME
    place.symlink_to(victim)
    with pytest.raises(VqeError, match=NAME):
        enhance_folder(settings, ignore, ignore)
    place.unlink()
    manifest = Manifest(settings.output)
    place.symlink_to(victim)
    with pytest.raises(VqeError, match=NAME):
        manifest.add(Outcome("a", "a", "failed"), None)
    assert victim.read_bytes() == b""
    place.unlink()
    place.mkdir()
    with pytest.raises(VqeError, match=NAME):
        enhance_folder(settings, ignore, ignore)


def test_a_place_that_cannot_be_written_to(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.mkdir", refuse)
    with pytest.raises(VqeError, match=r"out.*Read-only"):
        enhance_folder(settings, ignore, ignore)
    monkeypatch.undo()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(VqeError, match="cannot be written"):
        enhance_folder(settings, ignore, ignore)
    assert not settings.output.exists()
