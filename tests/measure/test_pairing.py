"""What is measured against what."""

from pathlib import Path

import pytest

from vqe_cli.errors import VqeError
from vqe_cli.measure.batch import plan_tasks
from vqe_cli.measure.pairing import Pair, folder_labels, pair_up


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def test_folders_pair_by_stem_whatever_the_form(tmp_path: Path) -> None:
    gt = folder(tmp_path / "gt", "001.mkv", "002/f001.png", "003.yuv", "notes.txt", ".hidden.mkv")
    pred = folder(tmp_path / "out", "001.mp4", "002.mkv", "003/f001.png", "log.csv")
    pairing = pair_up(gt, pred)
    assert pairing.unpaired == ()
    assert pairing.pairs == tuple(
        Pair(name, gt / one, pred / other)
        for name, one, other in [
            ("001", "001.mkv", "001.mp4"),
            ("002", "002", "002.mkv"),
            ("003", "003.yuv", "003"),
        ]
    )


def test_every_name_without_a_partner_is_listed(tmp_path: Path) -> None:
    gt = folder(tmp_path / "gt", "a.mkv", "b.mkv", "c.mkv")
    pred = folder(tmp_path / "out", "a.mkv", "c.mkv", "d.mkv")
    lq = folder(tmp_path / "lq", "a.mkv", "d.mkv", "e.mkv")
    pairing = pair_up(gt, pred, lq)
    assert [pair.name for pair in pairing.pairs] == ["a"]
    assert dict(pairing.unpaired) == {
        "b": f"--pred {pred} and --lq {lq}",
        "c": f"--lq {lq}",
        "d": f"--gt {gt}",
    }


def test_nothing_pairs(tmp_path: Path) -> None:
    gt, pred = folder(tmp_path / "gt", "a.mkv", "b.mkv"), folder(tmp_path / "out", "c.mkv")
    with pytest.raises(VqeError, match=r"a is missing in .*b is missing in .*c is missing in"):
        pair_up(gt, pred)


def test_single_videos_may_have_any_names(tmp_path: Path) -> None:
    files = folder(tmp_path, "truth.mkv", "out.mkv", "frames/f001.png")
    assert pair_up(files / "truth.mkv", files / "out.mkv").pairs[0].name == "out"
    assert pair_up(files / "truth.mkv", files / "frames").pairs[0].pred == files / "frames"


@pytest.mark.parametrize(
    ("gt", "pred", "says"),
    [
        ("gt", "one/x.mkv", "is one video and .* is a folder"),
        ("nowhere", "out", "does not exist"),
        ("gt", "empty", "holds no video"),
        ("gt", "twice", "holds both a.mkv and a.mp4"),
    ],
)
def test_what_cannot_be_paired(tmp_path: Path, gt: str, pred: str, says: str) -> None:
    folder(tmp_path, "gt/a.mkv", "out/a.mkv", "one/x.mkv", "empty/readme.txt", "twice/a.mkv", "twice/a.mp4")
    with pytest.raises(VqeError, match=says):
        pair_up(tmp_path / gt, tmp_path / pred)


def test_rate_points(tmp_path: Path) -> None:
    gt = folder(tmp_path / "gt", "a.mkv", "b.mkv")
    preds = [folder(tmp_path / "out" / qp, "a.mkv") for qp in ("qp22", "qp37")]
    lqs = [folder(tmp_path / "lq" / qp, "a.mkv", "b.mkv") for qp in ("qp22", "qp37")]
    tasks, failures = plan_tasks(gt, preds, lqs)
    assert [(task.label, task.pair.name) for task in tasks] == [("qp22", "a"), ("qp37", "a")]
    assert [(failure.label, failure.name) for failure in failures] == [("qp22", "b"), ("qp37", "b")]
    with pytest.raises(VqeError, match="2 --pred and 1 --lq"):
        plan_tasks(gt, preds, lqs[:1])


def test_labels_tell_folders_apart() -> None:
    assert folder_labels([Path("x/qp22"), Path("x/qp37")]) == ["qp22", "qp37"]
    assert folder_labels([Path("a/out"), Path("b/out")]) == ["a/out", "b/out"]
    assert len(set(folder_labels([Path("a"), Path("a")]))) == 2
