"""`vqe train-stage` and `vqe compress` from the command line: what they leave, say and return."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import START, one_sentence, process_env, vqe, vqe_process
from full_disk import fill_disk
from training_clips import make_data, moving_picture, write_clip

CONFIG = """
name: small
network: {arch: qecnn, config: {channels: 8, blocks: 1}}
data: {recipes: {qp37: 1}, crop: 32, batch: 2}
schedule: {steps: 30, rate: 1e-3}
validation: {clips: 1}
precision: fp32
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=1, frames=3)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
def test_trains_and_goes_on_from_weights(data: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "the run"
    done = vqe("train-stage", "1", "--config", config, "--data", data, "--out", out, "--shard-mib", "1")
    assert done.code == 0, done.stderr
    assert done.stdout == f"{out / 'small.safetensors'}\n"
    assert re.search(r"training step 20, .*loss 0\.\d+  rate \d.*  [\d.]+ it/s", done.stderr)
    index = json.loads((out / "small.safetensors.parts.json").read_text())
    assert all((out / part["file"]).is_file() for part in index["parts"])
    again = vqe(
        *("train-stage", "1", "--config", config, "--data", data, "--out", tmp_path / "second"),
        *("--init", out / "small.safetensors", "--max-minutes", "0.05"),
        "--quiet",
    )
    assert (again.code, again.stderr) == (0, "")


@pytest.mark.slow
def test_ctrl_c_and_resume(data: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train-stage", "1", "--config", str(config), "--data", str(data), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-c", START, *arguments, "--set", "schedule.steps=1000000"],
        env=process_env(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    [step] = re.findall(r"stopped after step (\d+); the same command with --resume goes on", said)
    assert "Traceback" not in said
    assert "terminate" not in said
    more = f"schedule.steps={int(step) + 3}"
    done = vqe(*arguments, "--resume", "--set", more)
    assert done.code == 0, done.stderr
    lines = (out / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == int(step) + 3


@pytest.mark.slow
def test_bench_train(data: Path, config: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("bench", "train", "--config", config, "--data", data, "--seconds", "1")
    done = vqe(*arguments, "--set", "data.batch=3", "--json", report)
    assert done.code == 0, done.stderr
    told = json.loads(report.read_text())
    assert told["clips_per_s"] == pytest.approx(3 * told["steps_per_s"])
    assert re.search(r"clips per s +[\d.]+", done.stdout)
    assert re.search(r"waiting percent +[\d.]+", done.stdout)
    assert re.search(r"reached percent +[\d.]+", done.stdout)


def test_a_stage_that_is_none(config: Path) -> None:
    done = vqe("train-stage", "3", "--config", config)
    assert done.code == 2
    assert "none of flow, 1, 2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["1", "--config", "{tmp}/none.yaml"], "none.yaml: No such file"),
        (["flow", "--config", "{config}"], "stage flow trains spynet, the config has qecnn"),
        (["1", "--config", "{config}", "--data", "{tmp}/nowhere"], "nowhere/train/raw is not a folder"),
        (["1", "--config", "{config}", "--data", "{data}", "--resume"], "no checkpoint"),
        (["1", "--config", "{config}", "--data", "{data}", "--init", "{tmp}/none.pth"], "no file"),
        (["1", "--config", "{config}", "--data", "{data}", "--init", "{config}"], "not a readable"),
        (["1", "--config", "{config}", "--data", "{data}", "--set", "data.recipes={qp9: 1}"], "qp9"),
        (["1", "--config", "{config}", "--data", "{data}", "--set", "a.b=1", "--set", "c"], "unknown key a"),
        (["1", "--config", "{config}", "--data", "{data}", "--device", "cuda"], "cuda was asked for"),
        (
            ["1", "--config", "{config}", "--data", "{data}", "--out", "{config}/run"],
            "cannot make the folder",
        ),
    ],
)
def test_bad_input(data: Path, config: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    filled = [a.replace("{tmp}", str(tmp_path)).replace("{config}", str(config)) for a in arguments]
    filled = [a.replace("{data}", str(data)) for a in filled]
    if "--out" not in filled:
        filled += ["--out", str(tmp_path / "run")]
    assert told in one_sentence(vqe("train-stage", *filled))


def test_missing_pair_and_frame_counts(data: Path, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    write_clip(folder / "train/lq/qp37/000.mkv", moving_picture(0, 2, 64, 64))
    arguments = ("train-stage", "1", "--config", config, "--data", folder, "--out", tmp_path / "run")
    assert "000.mkv has 2 frames, its truth 3" in one_sentence(vqe(*arguments))
    shutil.copy(data / "train/lq/qp37/000.mkv", folder / "train/lq/qp37/009.mkv")
    assert "009.mkv has no truth" in one_sentence(vqe(*arguments))


def test_full_disk(data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    arguments = ("train-stage", "1", "--config", config, "--data", data, "--out", out)
    assert vqe(*arguments).code == 0
    before = (out / "last.pt").read_bytes()
    fill_disk(monkeypatch)
    told = one_sentence(vqe(*arguments))
    assert "cannot write" in told
    assert "the version before is intact" in told
    assert (out / "last.pt").read_bytes() == before


def test_compress(data: Path, tmp_path: Path) -> None:
    raw, out = data / "train/raw", tmp_path / "lq"
    done = vqe("compress", raw, "--recipe", "qp42", "--out", out)
    assert done.code == 0, done.stderr
    assert done.stdout == f"{out / '000.mkv'}\n"
    assert re.search(r"3 frames, [\d.]+ KiB, luma \d\d\.\d\d dB", done.stderr)
    assert "exists" in one_sentence(vqe("compress", raw, "--recipe", "qp42", "--out", out))
    assert "no recipe 'qp99'" in one_sentence(vqe("compress", raw, "--recipe", "qp99", "--out", out))
    needs = one_sentence(vqe("compress", raw, "--recipe", "hm-ldp-qp37", "--out", tmp_path / "hm"))
    assert "--hm TAppEncoder" in needs
    assert vqe("compress", raw, "--recipe", "qp42", "--out", out, "--hm", "x").code == 2
    assert vqe("compress", raw, "--recipe", "qp42", "--out", out, "--scale", "3").code == 2


def test_compress_goes_on_past_a_bad_file(data: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(data / "train/raw", raw)
    (raw / "bad.mkv").write_bytes(b"no video")
    done = vqe("compress", raw, "--recipe", "qp42", "--out", tmp_path / "lq")
    assert done.code == 1
    assert "bad.mkv" in done.stderr
    assert "1 of 2 clips could not be compressed" in done.stderr
    assert (tmp_path / "lq/000.mkv").is_file()
    assert not (tmp_path / "lq/bad.mkv").exists()


def test_help_needs_no_torch() -> None:
    code = "import sys; import vqe_cli.cli.main; sys.exit(int('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=process_env(), check=False)
    assert done.returncode == 0
    assert vqe_process("train-stage", "--help").code == 0
