"""The real `vqe eval`, on clips made for it."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import pytest
import torch
from command import one_sentence, vqe, vqe_process
from conftest import DATA
from small_clips import clip, write

COUNT = 8


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """gt/, out/ and lq/ with the clips `a` and `b`; the input is noisier than the output."""
    for folder, noise in (("gt", 0), ("out", 2), ("lq", 6)):
        (tmp_path / folder).mkdir()
        for name, count in (("a", COUNT), ("b", COUNT + 2)):
            write(tmp_path / folder / f"{name}.mkv", clip(count, noise))
    return tmp_path


def sides(folder: Path, lq: bool = True) -> list[str | Path]:
    chosen: list[str | Path] = ["--gt", folder / "gt", "--pred", folder / "out"]
    return [*chosen, "--lq", folder / "lq"] if lq else chosen


def test_json_is_one_document_with_all_that_was_measured(folders: Path) -> None:
    done = vqe_process("eval", *sides(folders), "--metrics", "psnr,ms-ssim,psnr-y", "--format", "json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    a, b = found["videos"]
    assert (a["name"], b["name"]) == ("a", "b")
    assert a["frames"] == list(range(COUNT))
    psnr = a["metrics"]["psnr"]
    assert len(psnr["per_frame"]) == len(psnr["input"]["per_frame"]) == COUNT
    assert psnr["mean"] == pytest.approx(sum(psnr["per_frame"]) / COUNT)
    assert psnr["gain"] == pytest.approx(psnr["mean"] - psnr["input"]["mean"])
    assert psnr["gain"] > 3
    assert psnr["worst"] == min(psnr["per_frame"]) == psnr["per_frame"][psnr["worst_frame"]]
    assert a["metrics"]["ms-ssim"]["mean"] is None
    mean = found["mean"][0]["metrics"]["psnr"]["mean"]
    assert mean == pytest.approx((psnr["mean"] + b["metrics"]["psnr"]["mean"]) / 2)


def strict(text: str) -> Any:
    """JSON by the standard, which has no NaN and no Infinity."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


HOSTILE = (
    DATA / "cases" / "gain"
)  # a: the input equals the truth; b: the input is lossy; both outputs are worse
LOSSES = ("--gt", HOSTILE / "gt", "--pred", HOSTILE / "pred", "--lq", HOSTILE / "lq")


def test_no_mean_stands_over_two_losses() -> None:
    found = strict(vqe("eval", *LOSSES, "--metrics", "psnr-y,psnr", "--format", "json", "-q").stdout)
    a, b = found["videos"]
    assert "inf" not in json.dumps([video["metrics"] for video in found["videos"]])
    for metric in ("psnr", "psnr-y"):
        first, second, mean = a["metrics"][metric], b["metrics"][metric], found["mean"][0]["metrics"][metric]
        assert (first["gain"], first["gain_frames"], first["ceased_identical"]) == (None, 0, 4)
        assert (first["input"]["mean"], first["input"]["identical"]) == (None, 4)
        assert first["input"]["identical_frames"] == [0, 1, 2, 3]
        assert second["gain"] == pytest.approx(second["mean"] - second["input"]["mean"])
        assert second["gain"] < -10
        assert (mean["gain"], mean["gain_videos"]) == (second["gain"], 1)
        assert mean["mean"] == pytest.approx((first["mean"] + second["mean"]) / 2)
    assert any("identical to the truth" in warning and "loss" in warning for warning in a["warnings"])
    rows = list(csv.DictReader(io.StringIO(vqe("eval", *LOSSES, "--format", "csv", "-q").stdout)))
    gains = [row["gain"] for row in rows if row["metric"] == "psnr"]
    assert gains[0] == "" and float(gains[1]) == float(gains[2]) < 0
    table = vqe("eval", *LOSSES, "--metrics", "psnr", "-q").stdout
    (mean_row,) = [line for line in table.splitlines() if line.strip().startswith("mean of 2")]
    assert "+" not in mean_row and "(of 1)" in mean_row


def test_plots_and_reports_of_infinite_gains(tmp_path: Path) -> None:
    page, drawing = tmp_path / "report.html", tmp_path / "plot.svg"
    done = vqe("eval", *LOSSES, "--metrics", "psnr", "-q", "--report", page, "--plot", drawing)
    assert done.code == 0, done.stderr
    ElementTree.fromstring(page.read_text().replace("<!DOCTYPE html>", ""))
    assert 'class="up"' not in page.read_text()
    for number in ElementTree.fromstring(drawing.read_text()).iter():
        assert not {"inf", "nan"} & set(" ".join(number.attrib.values()).replace(",", " ").split())


def test_a_video_that_equals_its_truth(folders: Path) -> None:
    same = ("eval", "--gt", folders / "gt", "--pred", folders / "gt", "--lq", folders / "gt")
    found = strict(vqe(*same, "--metrics", "psnr", "--format", "json", "-q").stdout)
    psnr = found["videos"][0]["metrics"]["psnr"]
    assert (psnr["mean"], psnr["identical"], psnr["gain"]) == (None, COUNT, 0.0)
    assert found["mean"][0]["metrics"]["psnr"]["gain"] == 0.0
    assert "inf" in vqe(*same, "--metrics", "psnr", "-q").stdout


def test_the_table_is_for_people_and_progress_is_on_stderr(folders: Path) -> None:
    done = vqe("eval", *sides(folders), "--metrics", "psnr,ms-ssim")
    assert done.code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    (row,) = [line for line in lines if line[:2] == ["a", str(COUNT)]]
    assert float(row[2]) > 30
    assert row[3].startswith("+")
    assert row[4:6] == ["n/a", "n/a"]
    assert any(line[:3] == ["mean", "of", "2"] for line in lines)
    assert "[2/2] b: 10 frames, psnr" in done.stderr
    assert "[2/2]" not in done.stdout
    assert vqe("eval", *sides(folders), "--metrics", "psnr", "--quiet").stderr == ""


def test_no_number_is_cut_on_a_narrow_terminal(folders: Path) -> None:
    arguments = ("eval", *sides(folders), "--metrics", "psnr,psnr-y,ssim", "-q")
    wide, narrow = (vqe(*arguments, env={"FORCE_COLOR": "1", "COLUMNS": width}) for width in ("300", "60"))
    assert "…" not in narrow.stdout
    numbers = [[word for word in done.stdout.split() if "." in word] for done in (wide, narrow)]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 30


def test_csv_has_a_line_for_each_video_and_metric(folders: Path) -> None:
    done = vqe("eval", *sides(folders, lq=False), "--metrics", "psnr,psnr-y", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["video"], row["metric"]) for row in rows] == [
        (video, metric) for video in ("a", "b", "mean") for metric in ("psnr", "psnr-y")
    ]
    assert float(rows[4]["mean"]) == pytest.approx((float(rows[0]["mean"]) + float(rows[2]["mean"])) / 2)
    assert rows[0]["gain"] == ""


def test_markdown_is_a_table(folders: Path) -> None:
    done = vqe("eval", *sides(folders), "--metrics", "psnr", "--format", "md")
    table = done.stdout.split("\n\n")[1].splitlines()
    assert [line.count("|") for line in table] == [5] * 5
    assert table[1] == "| --- | ---: | ---: | ---: |"


def test_plot_crops_and_report(folders: Path) -> None:
    targets = {name: folders / name for name in ("plot.svg", "crops.svg", "crops.png", "report.html")}
    done = vqe(
        "eval", *sides(folders), "--metrics", "psnr", "--quiet",
        "--plot", targets["plot.svg"], "--compare", targets["crops.png"], "--report", targets["report.html"],
    )  # fmt: skip
    assert done.code == 0, done.stderr
    with av.open(str(targets["crops.png"])) as picture:
        assert next(picture.decode(video=0)).to_ndarray(format="rgb24").std() > 5
    page = ElementTree.fromstring(targets["report.html"].read_text().replace("<!DOCTYPE html>", ""))
    assert len(list(page.iter("table"))) == 2
    assert vqe("eval", *sides(folders), "--compare", targets["crops.svg"]).code == 0
    for name in ("plot.svg", "crops.svg"):
        ElementTree.fromstring(targets[name].read_text())
    assert not list(folders.glob(".*"))


def test_existing_files_are_refused_before_the_work(folders: Path) -> None:
    target = folders / "crops.png"
    target.write_text("mine")
    refused = vqe("eval", *sides(folders), "--compare", target)
    assert "exists" in one_sentence(refused)
    assert "frames" not in refused.stderr
    assert target.read_text() == "mine"
    assert vqe("eval", *sides(folders), "--metrics", "psnr", "--compare", target, "--overwrite").code == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_a_batch_goes_on_past_bad_pairs_and_exits_1(folders: Path) -> None:
    (folders / "out" / "b.mkv").write_text("no video")
    write(folders / "gt" / "c.mkv", clip(2))
    write(folders / "out" / "d.mkv", clip(2))
    write(folders / "gt" / "e.mkv", clip(COUNT))
    write(folders / "out" / "e.mkv", clip(COUNT - 1))
    done = vqe("eval", *sides(folders, lq=False), "--metrics", "psnr")
    assert done.code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1].strip() for line in errors] == ["b", "e", "c", "d"]
    assert "has 8 and" in errors[1] and "has 7." in errors[1]
    assert "--pred" in errors[2] and "--gt" in errors[3]
    shown = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["a", str(COUNT)] in shown
    assert all([name, "failed"] in shown for name in "bcde")
    assert "mean of 1" in done.stdout
    found = json.loads(vqe("eval", *sides(folders, lq=False), "--format", "json", "-q").stdout)
    assert [video["name"] for video in found["videos"] if "error" in video] == ["b", "e", "c", "d"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--metrics", "psnr,ssmi"], "Did you mean 'ssim'?"),
        (["--metrics", ","], "names no metric"),
        (["--metrics", "lpips"], "lpips"),
        (["--metrics", "kid"], "--fid-network"),
        (["--metrics", "vid", "--vid-network", "gt/a.mkv", "--every", "2"], "--every"),
        (["--plot", "plot.gif"], ".svg"),
        (["--report", "nowhere/report.html"], "does not exist"),
        (["--every", "3", "--offset", "3"], "picks no frame"),
        (["--lq", "gt", "--lq", "gt"], "1 --pred and 2 --lq"),
    ],
)
def test_bad_requests_are_one_sentence(
    folders: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(folders)
    assert says in one_sentence(vqe("eval", *sides(folders, lq=False), *arguments))


@pytest.mark.parametrize(
    "arguments", [["--format", "xml"], ["--size", "64"], ["--every", "0"], ["--crop", "-1"]]
)
def test_wrong_usage_is_2(folders: Path, arguments: list[str]) -> None:
    assert vqe("eval", *sides(folders, lq=False), *arguments).code == 2


def test_raw_video_by_its_size(folders: Path) -> None:
    raw = folders / "raw.yuv"
    raw.write_bytes(b"".join(plane.tobytes() for planes in clip(COUNT, noise=2) for plane in planes))
    arguments = ["--gt", folders / "gt" / "a.mkv", "--pred", raw, "--metrics", "psnr-y", "--format", "csv"]
    assert "--size" in one_sentence(vqe("eval", *arguments))
    by_size = vqe("eval", *arguments, "--size", "64x48", "--pix-fmt", "yuv420p", "--fps", "30")
    coded = vqe("eval", *arguments[:2], "--pred", folders / "out" / "a.mkv", *arguments[4:])
    values = [next(csv.DictReader(io.StringIO(done.stdout)))["mean"] for done in (by_size, coded)]
    assert values[0] == values[1]


def test_bd_rate_over_several_qps(tmp_path: Path) -> None:
    """The output is the input with a third of its noise: it gains, so fewer bits do for the same quality."""
    arguments: list[str | Path] = ["--gt", tmp_path / "gt"]
    (tmp_path / "gt").mkdir()
    truth = clip(4)
    write(tmp_path / "gt" / "a.mkv", truth)
    for qp in (20, 26, 32, 38):
        lq, out = tmp_path / "lq" / f"qp{qp}", tmp_path / "out" / f"qp{qp}"
        lq.mkdir(parents=True), out.mkdir(parents=True)
        options = {"qp": str(qp), "preset": "ultrafast"}
        coded = write(lq / "a.mkv", truth, codec="libx264", options=options)
        with av.open(str(coded)) as container:
            frames = [picture.to_ndarray() for picture in container.decode(video=0)]
        better = []
        for planes, picture in zip(truth, frames, strict=True):
            luma = (2 * planes[0].astype(int) + picture[:48]) // 3
            better.append((luma.astype("uint8"), *planes[1:]))
        write(out / "a.mkv", better)
        arguments += ["--pred", out, "--lq", lq]
    done = vqe("eval", *arguments, "--metrics", "psnr-y", "--format", "json", "-q")
    found = json.loads(done.stdout)
    assert [video["label"] for video in found["videos"]] == ["qp20", "qp26", "qp32", "qp38"]
    (deltas,) = found["bjontegaard"]
    assert deltas["bd_rate_percent"] < -30, deltas
    assert 5 < deltas["bd_quality"] < 14
    assert "BD-rate" in vqe("eval", *arguments, "--metrics", "psnr-y").stdout


def test_the_model_is_in_every_report(folders: Path) -> None:
    page = folders / "report.html"
    asked = ("eval", *sides(folders), "--metrics", "psnr,vmaf", "-q")
    found = strict(vqe(*asked, "--format", "json", "--report", page).stdout)["videos"][0]["metrics"]
    assert found["psnr"]["source"] is None
    assert 0 < found["vmaf"]["low_1_percent"] < found["vmaf"]["harmonic_mean"] < 100
    shown = {form: vqe(*asked, "--format", form).stdout for form in ("table", "md", "csv")}
    for text in (*shown.values(), page.read_text(), found["vmaf"]["source"]):
        assert "vmaf_v0.6.1" in text and "libvmaf" in text
    for text in (shown["table"], shown["md"], page.read_text()):
        assert "harmonic mean" in text and text.count("1 % low") >= 2


def test_output_against_input(folders: Path) -> None:
    page, drawing = folders / "report.html", folders / "crops.svg"
    asked = ("eval", "--lq", folders / "lq", "--pred", folders / "out", "-q")
    done = vqe(*asked, "--format", "json", "--report", page, "--compare", drawing)
    assert done.code == 0, done.stderr
    a, b = strict(done.stdout)["videos"]
    assert (a["gt"], a["name"], b["name"]) == (None, "a", "b")
    metrics = a["metrics"]
    assert len(metrics["psnr"]["per_frame"]) == COUNT
    assert "input" not in metrics["psnr"]
    for name in ("blockiness", "clipped"):
        gain = metrics[name]["mean"] - metrics[name]["input"]["mean"]
        assert metrics[name]["gain"] == pytest.approx(gain)
    assert metrics["flicker"]["per_frame"][0] is None
    assert "cambi" in metrics
    table = vqe(*asked).stdout
    assert "Change from the input" in table and "→" in table and "truth" not in table
    text = page.read_text()
    ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))
    assert "most changed" in text and "truth" not in text
    assert "truth" not in drawing.read_text()


def test_without_a_libvmaf_banding_is_left_out(folders: Path) -> None:
    asked = ("eval", "--lq", folders / "lq" / "a.mkv", "--pred", folders / "out" / "a.mkv")
    hidden = {"PATH": str(folders), "IMAGEIO_FFMPEG_EXE": str(folders / "none")}
    done = vqe_process(*asked, "--format", "csv", env=hidden)
    assert done.code == 0, done.stderr
    assert "cambi" not in done.stdout and "left out" in done.stderr


def test_neither_truth_nor_input(folders: Path) -> None:
    assert "--gt" in one_sentence(vqe("eval", "--pred", folders / "out"))
    refused = vqe("eval", "--pred", folders / "out", "--lq", folders / "lq", "--metrics", "fid")
    assert refused.code == 2 and "--gt" in refused.stderr


@pytest.mark.parametrize("crop", ["24", "500"])
def test_a_crop_that_leaves_nothing(folders: Path, crop: str) -> None:
    pair = ("--gt", folders / "gt" / "a.mkv", "--pred", folders / "out" / "a.mkv")
    assert "leaves nothing" in one_sentence(vqe("eval", *pair, "--crop", crop))


def test_distances_of_sets_are_shown(folders: Path) -> None:
    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.cat([pictures.mean(dim=(2, 3)), pictures.square().mean(dim=(2, 3))], dim=1)

    network = folders / "means.pt"
    torch.jit.script(Means()).save(str(network))
    page = folders / "report.html"
    asked = ("eval", *sides(folders), "--metrics", "fid", "--fid-network", network, "-q")
    done = vqe(*asked, "--format", "json", "--report", page)
    [fid] = strict(done.stdout)["sets"]
    assert (fid["metric"], fid["count"], fid["source"]) == ("fid", 2 * COUNT + 2, str(network))
    assert 0 < fid["output"] < fid["given"]
    for text in (page.read_text(), vqe(*asked).stdout):
        assert "FID" in text and network.name in text
