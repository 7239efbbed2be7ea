"""Journals that anybody may have written: read as they were, or called damaged in one sentence."""

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from vqe_cli.errors import VqeError
from vqe_cli.restore.engine import Weights
from vqe_cli.restore.summaries import NO_PLANES, FrameSummary
from vqe_cli.runs.journal import JOURNAL, Finished, Journal, left_over, work_folder
from vqe_cli.runs.report import Report, Seconds, Summary
from vqe_cli.video.frame import Frame

IDENTITY = {"scale": 1, "model": "tiny", "the input": "abc"}
SEGMENT = Finished(0, 0, 4, 100, "ab", "cd", ("a warning",))
REPORT = Report(
    "in.mkv",
    "out.mkv",
    Summary("tiny", "cpu", "fp32", 4, 2, ((0, 0),), 1, None, (48, 32), (48, 32)),
    4,
    Seconds(1, 1.5, 0, 1),
    3.5,
    1.25,
    (Weights(1, "tiny.safetensors", "ab"),),
    "qp",
    1,
    0,
    0,
    ("a warning",),
)


def frames() -> list[FrameSummary]:
    kinds = [Frame(n, NO_PLANES, n * 40, 40, "P", n == 0, 37.0, 37.0, 0, duplicate_of=None) for n in range(4)]
    kinds[2] = Frame(2, NO_PLANES, None, None, "?", False, None, None, 0, duplicate_of=1)
    return [FrameSummary(frame, 0.5, 7) for frame in kinds]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The work folder of a run that has finished one segment."""
    place = work_folder(tmp_path / "out.mkv")
    place.mkdir()
    journal = Journal(place, IDENTITY)
    for seen in frames():
        journal.remember(seen)
    journal.finish(SEGMENT)
    return place


def test_what_was_written_is_read(folder: Path) -> None:
    journal = Journal(folder, IDENTITY)
    assert [(s.frame.index, s.frame.pts, s.frame.duplicate_of) for s in journal.remembered] == [
        (s.frame.index, s.frame.pts, s.frame.duplicate_of) for s in frames()
    ]
    assert journal.finished == {0: SEGMENT}
    assert Report.from_dict(REPORT.as_dict()) == REPORT


ROWS = [[0, 40, "P", True, 37.0, 37.0, 0, None, 0.5, 7]]
WRONG_LINES = {
    "not UTF-8": b'{"kind": "\xff"}',
    "not JSON": b"{",
    "NaN": b'{"kind": "frames", "first": 4, "rows": [[NaN]]}',
    "5,000 digits": b'{"kind": "frames", "first": ' + b"9" * 5000 + b', "rows": []}',
    "deep": b"[" * 100_000,
    "a list": b"[1]",
    "text": b'"run"',
    "no kind": b"{}",
    "another kind": b'{"kind": "[/b]"}',
    "a number as kind": b'{"kind": 3}',
    "a list as kind": b'{"kind": [1]}',
    "text as first frame": b'{"kind": "frames", "first": "4", "rows": []}',
    "a fraction as first frame": b'{"kind": "frames", "first": 4.0, "rows": []}',
    "no rows": b'{"kind": "frames", "first": 4}',
    "text as rows": b'{"kind": "frames", "first": 4, "rows": "ab"}',
    "text as row": b'{"kind": "frames", "first": 4, "rows": ["abcdefghij"]}',
    "negative segment": json.dumps({"kind": "segment", **asdict(SEGMENT), "number": -1}).encode(),
    "text as bytes": json.dumps({"kind": "segment", **asdict(SEGMENT), "bytes": "9"}).encode(),
    "number as hash": json.dumps({"kind": "segment", **asdict(SEGMENT), "sha256": 9}).encode(),
    "text as warnings": json.dumps({"kind": "segment", **asdict(SEGMENT), "warnings": "ab"}).encode(),
    "an unknown entry": json.dumps({"kind": "segment", **asdict(SEGMENT), "x": 1}).encode(),
}
for place, value in {
    0: "0",
    1: 1.5,
    2: 3,
    3: 1,
    4: "37",
    5: [37],
    6: None,
    7: 99,
    8: None,
    9: "7",
}.items():
    row = [*ROWS[0][:place], value, *ROWS[0][place + 1 :]]
    WRONG_LINES[f"{value!r} at {place}"] = json.dumps({"kind": "frames", "first": 4, "rows": [row]}).encode()


@pytest.mark.parametrize("name", WRONG_LINES)
def test_a_wrong_line_is_called_damage(folder: Path, name: str) -> None:
    with (folder / JOURNAL).open("ab") as file:
        file.write(WRONG_LINES[name] + b"\n")
    with pytest.raises(VqeError, match="damaged") as caught:
        Journal(folder, IDENTITY)
    assert "--restart" in caught.value.remedy
    assert left_over(folder, folder.with_name("out.mkv")) is None
    assert (folder / JOURNAL).exists()


@pytest.mark.parametrize(
    "identity",
    [
        {"scale": "x" * 10**6},
        {"x" * 10**6: 1},
        {f"k{n}": n for n in range(10_000)},
        {"scale": {"a": ["\x1b[2J[/b]"] * 1000}},
    ],
    ids=["value", "name", "names", "tree"],
)
def test_what_has_changed_is_said_at_bearable_length(folder: Path, identity: dict[str, object]) -> None:
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    run = json.loads(lines[0])
    (folder / JOURNAL).write_text("".join([json.dumps({**run, "identity": identity}) + "\n", *lines[1:]]))
    with pytest.raises(VqeError, match="unfinished run") as caught:
        Journal(folder, IDENTITY)
    assert len(str(caught.value)) < 2500 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    "report", [None, [], {}, {"plan": 3}, {**REPORT.as_dict(), "fps": "1"}, {**REPORT.as_dict(), "plan": {}}]
)
def test_a_wrong_report_is_not_taken_for_a_finished_run(folder: Path, report: object) -> None:
    output = folder.with_name("out.mkv")
    output.write_bytes(b"made")
    line = {"kind": "joined", "bytes": 4, "mtime_ns": output.stat().st_mtime_ns, "report": report}
    with (folder / JOURNAL).open("a") as file:
        file.write(json.dumps(line) + "\n")
    (folder / "00000.segment").write_bytes(b"kept")
    assert left_over(folder, output) is None
    assert (folder / JOURNAL).exists()


def test_mutated_journals_are_read_or_called_damaged(folder: Path) -> None:
    path = folder / JOURNAL
    good = path.read_bytes()
    chance = random.Random(24)
    words = [
        b"[",
        b"]",
        b"{",
        b'"',
        b"null",
        b"NaN",
        b"-1",
        b"9" * 30,
        b"1e999",
        b"\n",
        b"\xff",
        b"true",
        b'"x"',
    ]
    for _ in range(400):
        found = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            begin = chance.randrange(len(found) + 1)
            found[begin : begin + chance.randint(0, 12)] = chance.choice(words)
        path.write_bytes(bytes(found))
        try:
            Journal(folder, IDENTITY)
        except VqeError as error:
            assert len(str(error)) < 1000
