"""`vqe inspect` as a command: one JSON document, or a table and a curve."""

import json
from pathlib import Path

import pytest
from command import one_sentence, vqe, vqe_process
from conftest import DATA, ROOT

from vqe_cli.cli.inspect import ASCII, qp_curve

STREAM = DATA / "hevc" / "containers" / "hm_ra_qp37.hvc1.mp4"
TRUTH = json.loads((DATA / "hevc" / "truth.json").read_text())["containers/hm_ra_qp37.hvc1.mp4"]["frames"]


def test_json_is_one_document_on_stdout_and_nothing_else() -> None:
    done = vqe_process("inspect", STREAM, "--json", "-")
    assert (done.code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.keys() == {"video", "frames"}
    assert found["video"]["codec"] == "hevc"
    assert found["video"]["frame_count"] == len(found["frames"]) == len(TRUTH)
    for index, (frame, row) in enumerate(zip(found["frames"], TRUTH, strict=True)):
        assert frame.keys() == {"index", "pts", "kind", "qp", "pqf", "duplicate_of"}
        assert (frame["index"], frame["kind"], frame["qp"]) == (index, row[1], row[6][0])
        assert type(frame["pts"]) is int and type(frame["pqf"]) is bool and frame["duplicate_of"] is None


def test_json_can_go_into_a_file_beside_the_table(tmp_path: Path) -> None:
    target = tmp_path / "frames.json"
    done = vqe("inspect", STREAM, "--json", target, "--pqf-rule", "minima")
    assert done.code == 0
    peaks = sum(frame["pqf"] for frame in json.loads(target.read_text())["frames"])
    assert f"{peaks} peak quality frames" in done.stdout
    assert "QP by frame" in done.stdout


def test_the_streams_of_a_file_with_sound_are_named() -> None:
    done = vqe("inspect", ROOT / "samples" / "lq" / "bunny.mkv", "--no-duplicates")
    assert done.code == 0
    assert "audio: aac" in done.stdout and "bt709" in done.stdout


def test_av1_shows_its_own_scale() -> None:
    done = vqe("inspect", DATA / "av1/rav1e.mkv")
    assert "108 to 161, median 161 (AV1's base_q_idx, 0 to 255)" in done.stdout
    assert "4 peak quality frames" in done.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_without_unicode_gets_plain_characters(encoding: str) -> None:
    done = vqe_process("inspect", STREAM, "--no-duplicates", env={"PYTHONIOENCODING": encoding})
    assert done.code == 0, done.stderr
    assert ("▲" in done.stdout) == (encoding == "utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mkv"], "nowhere.mkv does not exist"),
        ([DATA / "hevc" / "damaged" / "text.hevc"], "text.hevc"),
        ([STREAM, "--hm-log", "nowhere.log"], "nowhere.log"),
        ([STREAM, "--hm-log", DATA / "hevc" / "logs" / "mismatch_hm_ra_qp37.dec.log"], "does not match"),
        ([STREAM, "--json", "no/such/folder.json"], "no/such/folder.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments: list[str | Path], words: str) -> None:
    assert words in one_sentence(vqe("inspect", *arguments))


def test_a_small_curve_is_as_drawn_by_hand() -> None:
    assert qp_curve([30, 33, 32, None, 31], [True, False, False, False, True], 80, ASCII) == [
        "  33 | .",
        "  32 |  .",
        "  31 |    ^",
        "  30 |^",
        "      0   4",
        "      QP by frame; ^ peak quality frame",
    ]


def test_many_frames_share_columns_and_keep_the_width() -> None:
    qps = [36 if t % 8 == 0 else 44.5 for t in range(1000)]
    lines = qp_curve(qps, [t % 8 == 0 for t in range(1000)], 80, ASCII)
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].endswith("14 in a column; ^ peak quality frame")
    lowest = next(line for line in lines if line.startswith("  36"))
    assert lowest.count("^") == len(lowest) - len("  36 |")


def test_many_levels_share_rows() -> None:
    lines = qp_curve([-10, 51], [True, False], 80, ASCII)
    assert len(lines) <= 16
    assert lines[-3] == " -10 |^"


def test_nothing_known_is_no_curve() -> None:
    assert qp_curve([None, None], [True, False], 80) == []
    assert qp_curve([], [], 80) == []
