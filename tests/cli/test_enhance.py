"""`vqe enhance` from the command line to the written file, on tiny random networks and on shipped ones."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import START, one_sentence, process_env, vqe, vqe_process
from conftest import ROOT
from made_clips import decoded, packets, write_clip
from tiny_weights import write_registry, write_tiny

from vqe_cli.files import sha256_of
from vqe_cli.weights.registry import load_pipelines

BUNNY = ROOT / "samples" / "lq" / "bunny.mkv"
REPORTED = {"frames", "seconds", "fps", "plan", "weights", "input", "output", "warnings"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `tiny`, `pair` and `grow` are the pipelines there are."""
    return {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=5, sound=True)


def test_a_file_with_sound_comes_out_changed_and_complete(tmp_path: Path, registry: dict[str, str]) -> None:
    """The real process: one JSON document on stdout, all else on stderr, sound copied bit for bit."""
    output = tmp_path / "out.mkv"
    done = vqe_process(
        "enhance", BUNNY, output, "--frames", "6", "--codec", "ffv1", "--json", "-", env=registry
    )
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.keys() >= REPORTED
    assert (report["frames"], report["plan"]["model"]) == (6, "tiny")
    weights = Path(registry["VQE_WEIGHTS_TOML"]).parent / "tiny.safetensors"
    assert [entry["sha256"] for entry in report["weights"]] == [sha256_of(weights)]
    assert "chunks of 8 frames" in done.stderr and "6 frames in" in done.stderr
    before, after = decoded(BUNNY)[:6], decoded(output)
    assert len(after) == 6
    assert all(
        one.shape == other.shape and (one != other).any() for one, other in zip(before, after, strict=True)
    )
    assert all(np.abs(one.astype(int) - other).mean() < 12 for one, other in zip(before, after, strict=True))
    sound, all_sound = packets(output, "audio"), packets(BUNNY, "audio")
    first = all_sound.index(sound[0])
    assert sound == all_sound[first : first + len(sound)]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_the_whole_sound_of_a_whole_file_is_copied(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    assert vqe("enhance", clip, tmp_path / "out.mkv", env=registry).code == 0
    assert packets(tmp_path / "out.mkv", "audio") == packets(clip, "audio")
    assert len(decoded(tmp_path / "out.mkv")) == len(decoded(clip))


@pytest.mark.parametrize(
    "name", ["with space.mkv", 'it\'s "quoted".mkv', "żółć 動画.mkv", "-dash.mkv", "100%.mkv"]
)
def test_odd_file_names(name: str, clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    source, target = tmp_path / "in" / name, tmp_path / "out" / name
    source.parent.mkdir()
    target.parent.mkdir()
    source.write_bytes(clip.read_bytes())
    done = vqe("enhance", source, target, env=registry)
    assert done.code == 0, done.stderr
    assert [path.name for path in target.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    "size", [(16, 16), (50, 38), (47, 33), (16, 240)], ids=lambda size: f"{size[0]}x{size[1]}"
)
@pytest.mark.parametrize("frames", [1, 2])
def test_any_size_and_a_single_frame(
    size: tuple[int, int], frames: int, tmp_path: Path, registry: dict[str, str]
) -> None:
    source = write_clip(tmp_path / "in.mkv", frames, size, codec="ffv1")
    done = vqe("enhance", source, tmp_path / "out.mkv", "--codec", "ffv1", env=registry)
    assert done.code == 0, done.stderr
    assert [one.shape for one in decoded(tmp_path / "out.mkv")] == [one.shape for one in decoded(source)]


def test_twice_the_size(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    done = vqe("enhance", clip, tmp_path / "out.mkv", "--model", "grow", "--scale", "2", env=registry)
    assert done.code == 0, done.stderr
    (rows, columns), *_ = [one.shape for one in decoded(clip)]
    assert {one.shape for one in decoded(tmp_path / "out.mkv")} == {(2 * rows, 2 * columns)}


def test_pictures_into_a_folder(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    done = vqe("enhance", clip, tmp_path / "f%03d.png", env=registry)
    assert done.code == 0, done.stderr
    assert len(list(tmp_path.glob("f*.png"))) == 5


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "variables", "file", "expected"),
    [
        ([], {}, "", ("tiny", 1)),
        ([], {}, "model: pair\ntta: 2", ("pair", 2)),
        ([], {"VQE_TTA": "4"}, "model: pair\ntta: 2", ("pair", 4)),
        (["--tta", "1"], {"VQE_TTA": "4"}, "tta: 2", ("tiny", 1)),
        (["--tta", "1", "--model", "tiny"], {}, "model: pair\ntta: 2", ("tiny", 1)),
    ],
)
def test_flags_win_over_variables_over_the_file_over_defaults(
    flags: list[str],
    variables: dict[str, str],
    file: str,
    expected: tuple[str, int],
    clip: Path,
    tmp_path: Path,
    registry: dict[str, str],
) -> None:
    (tmp_path / "vqe.yaml").write_text(file)
    arguments = [
        "enhance",
        clip,
        tmp_path / "out.mkv",
        "--config",
        tmp_path / "vqe.yaml",
        "--json",
        "-",
        *flags,
    ]
    done = vqe(*arguments, env={**registry, **variables})
    assert done.code == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    assert (plan["model"], plan["tta"]) == expected


def test_both_stages_run_and_one_can_be_chosen(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    stages = {}
    for choice in ("both", "1", "2"):
        arguments = ["--model", "pair", "--stages", choice, "--json", "-", "--overwrite"]
        done = vqe("enhance", clip, tmp_path / "out.mkv", *arguments, env=registry)
        assert done.code == 0, done.stderr
        stages[choice] = [entry["stage"] for entry in json.loads(done.stdout)["weights"]]
    assert stages == {"both": [1, 2], "1": [1], "2": [2]}
    done = vqe("enhance", clip, tmp_path / "new.mkv", "--stages", "both", env=registry)
    assert "has no stage II" in one_sentence(done)


def test_own_weights_are_used_and_named(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    sha256 = write_tiny(tmp_path / "own.safetensors", seed=9)
    arguments = ["--weights", tmp_path / "own.safetensors", "--json", "-"]
    done = vqe("enhance", clip, tmp_path / "out.mkv", *arguments, env=registry)
    assert done.code == 0, done.stderr
    assert [entry["sha256"] for entry in json.loads(done.stdout)["weights"]] == [sha256]


def test_quiet_is_quiet_and_the_report_can_be_a_file(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    done = vqe(
        "enhance", clip, tmp_path / "out.mkv", "--quiet", "--json", tmp_path / "run.json", env=registry
    )
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "run.json").read_text())["frames"] == 5


# --- safety -----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    output = tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    assert str(output) in one_sentence(vqe("enhance", clip, output, env=registry))
    assert output.read_bytes() == b"precious"
    assert vqe("enhance", clip, output, "--overwrite", env=registry).code == 0
    assert len(decoded(output)) == 5


@pytest.mark.parametrize("link", [False, True])
def test_the_input_is_never_the_output(
    link: bool, clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    source = tmp_path / "clip.mkv"
    source.write_bytes(clip.read_bytes())
    output = tmp_path / "link.mkv" if link else source
    if link:
        output.symlink_to(source)
    one_sentence(vqe("enhance", source, output, "--overwrite", env=registry))
    assert source.read_bytes() == clip.read_bytes()


def test_debug_shows_the_traceback(tmp_path: Path, registry: dict[str, str]) -> None:
    done = vqe("enhance", tmp_path / "absent.mkv", tmp_path / "out.mkv", "--debug", env=registry)
    assert done.code == 1
    assert "Traceback" in done.stderr and "error: " in done.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_interrupting_leaves_nothing(
    sent: signal.Signals, code: int, tmp_path: Path, registry: dict[str, str]
) -> None:
    source = write_clip(tmp_path / "in.mkv", frames=400, size=(320, 240), codec="ffv1")
    (tmp_path / "out").mkdir()
    arguments = ["enhance", str(source), str(tmp_path / "out" / "out.mkv"), "--tta", "8"]
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        env=process_env(registry),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "tiny on" in process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_shell_script_over_a_folder(clip: Path, tmp_path: Path, registry: dict[str, str]) -> None:
    """What users write: a loop in which one bad file stops neither the loop nor hides."""
    for name in ("a clip.mkv", "b.mkv"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    (tmp_path / "bad.mkv").write_text("no video")
    script = (
        'mkdir out; for f in *.mkv; do "$PYTHON" -c "$START" enhance "$f" "out/$f" -q; echo "$? $f"; done'
    )
    env = {**process_env(registry), "PYTHON": sys.executable, "START": START}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines() == ["0 a clip.mkv", "0 b.mkv", "1 bad.mkv"], done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["a clip.mkv", "b.mkv"]


# --- the pipelines that ship ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(pipeline.name, marks=() if pipeline.name == "fast" else pytest.mark.slow)
        for pipeline in load_pipelines().pipelines
        if pipeline.scale == 1
    ],
)
def test_a_shipped_pipeline_brings_a_sample_nearer_to_its_truth(model: str, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    done = vqe("enhance", BUNNY, output, "--model", model, "--frames", "8", "--codec", "ffv1")
    assert done.code == 0, done.stderr
    truth = decoded(ROOT / "samples" / "truth" / "bunny.mkv")[:8]

    def error(path: Path) -> float:
        shown = decoded(path)[:8]
        return float(np.mean([(a.astype(float) - b) ** 2 for a, b in zip(shown, truth, strict=True)]))

    gain_db = 10 * np.log10(error(BUNNY) / error(output))
    assert gain_db > 0.1


@pytest.mark.slow
def test_balanced_uses_its_neighbours(tmp_path: Path) -> None:
    """Fed single frames it loses more than 0.03 dB of its gain on a sample."""
    truth = decoded(ROOT / "samples" / "truth" / "flower.mkv")[:12]
    first = ("--model", "balanced", "--frames", "12", "--codec", "ffv1", "--overwrite")

    def psnr(*options: str) -> float:
        output = tmp_path / "out.mkv"
        done = vqe("enhance", ROOT / "samples" / "lq" / "flower.mkv", output, *first, *options)
        assert done.code == 0, done.stderr
        errors = [(a.astype(float) - b) ** 2 for a, b in zip(decoded(output), truth, strict=True)]
        return float(-10 * np.log10(np.mean(errors)))

    clips, single_frames = psnr(), psnr("--chunk", "1", "--overlap", "0", "--pqf", "none")
    assert clips > single_frames + 0.03, (clips, single_frames)
