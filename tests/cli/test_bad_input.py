"""Whatever is wrong with what the user gave: one sentence, exit code 1, nothing left under the final name."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from command import START, Done, one_sentence, process_env, vqe
from conftest import DATA
from made_clips import write_clip, write_sound
from tiny_weights import write_registry, write_tiny

DAMAGED = DATA / "hevc" / "damaged"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that is asked for below."""
    folder = tmp_path_factory.mktemp("bad")
    write_registry(folder)
    good = write_clip(folder / "good.mkv", frames=4)
    whole = write_clip(folder / "whole.mp4", frames=8).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "cut header.mkv").write_bytes(good.read_bytes()[:100])
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "notes.txt").write_text("These are notes.\n" * 100)
    (folder / "folder").mkdir()
    write_sound(folder / "sound.wav")
    write_sound(folder / "sound.mka")
    write_clip(folder / "no frames.mkv", frames=0)
    write_clip(folder / "interlaced.mkv", interlaced=True)
    (folder / "net.txt").write_text("not weights at all, but long enough to have a header")
    torch.save({"a": torch.zeros(1)}, folder / "net.pth")
    write_tiny(folder / "large.safetensors", scale=2)
    (folder / "vqe.yaml").write_text("modle: fast\n")
    return folder


def run(folder: Path, source: str | Path, *options: str, output: str = "out.mkv") -> Done:
    """Enhance `source` into a fresh folder and see that nothing is left there."""
    target = Path(tempfile.mkdtemp(dir=folder))
    arguments = [folder / option if (folder / option).is_file() else option for option in options]
    done = vqe(
        "enhance",
        folder / source,
        target / output,
        *arguments,
        env={"VQE_WEIGHTS_TOML": str(folder / "weights.toml")},
    )
    assert not list(target.iterdir()), "something was left"
    return done


@pytest.mark.parametrize(
    "name",
    [
        "missing.mkv",
        "empty.mkv",
        "cut.mp4",
        "cut header.mkv",
        "notes.txt",
        "folder",
        "sound.wav",
        "sound.mka",
        "no frames.mkv",
        "interlaced.mkv",
    ],
)
def test_an_input_that_cannot_be_enhanced_is_named(folder: Path, name: str) -> None:
    assert name in one_sentence(run(folder, name))


@pytest.mark.parametrize("name", ["empty", "random", "random_startcodes", "text", "no_sps"])
def test_a_stream_without_pictures_is_named(folder: Path, name: str) -> None:
    assert f"{name}.hevc" in one_sentence(run(folder, DAMAGED / f"{name}.hevc"))


def test_a_change_of_size_in_the_middle_is_an_error(folder: Path) -> None:
    assert "two_res_hm.hevc" in one_sentence(run(folder, DATA / "hevc" / "streams" / "two_res_hm.hevc"))


@pytest.mark.parametrize(
    ("name", "frames"),
    [("missing_pictures", 31), ("bitflip1", 32), ("trunc_mid_nal", 21), ("garbage_between", 33)],
)
def test_a_damaged_stream_gives_the_pictures_that_decode(
    folder: Path, tmp_path: Path, name: str, frames: int
) -> None:
    """As many as the decoder shows when it may show damaged ones; one warning counts them."""
    output = tmp_path / "out.mkv"
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    done = vqe("enhance", DAMAGED / f"{name}.hevc", output, "--codec", "ffv1", env=env)
    assert done.code == 0, done.stderr
    assert f"{frames} frames in" in done.stderr
    if name == "missing_pictures":
        warnings = [line for line in done.stderr.splitlines() if "without reference" in line]
        assert len(warnings) == 1 and warnings[0].startswith("warning: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "tinny"], "'tiny'"),
        (["--model", "tiny", "--scale", "2"], "grow"),
        (["--weights", "missing.safetensors"], "missing.safetensors"),
        (["--weights", "net.txt"], "net.txt"),
        (["--weights", "net.pth"], "vqe weights import"),
        (["--weights", "large.safetensors"], "--scale 2"),
        (["--config", "vqe.yaml"], "'model'"),
        (["--hm-log", "notes.txt"], "notes.txt"),
        (["--pqf", "hm-log"], "--hm-log"),
        (["--codec", "nosuchcodec"], "nosuchcodec"),
        (["--pix-fmt", "nosuchformat"], "nosuchformat"),
        (["--start", "100"], "good.mkv"),
        (["--json", "no/such/folder/run.json"], "no/such/folder/run.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_choice_that_does_not_work_is_named_with_the_way_out(
    folder: Path, options: list[str], words: str
) -> None:
    assert words in one_sentence(run(folder, "good.mkv", *options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there(folder: Path) -> None:
    assert "cuda" in one_sentence(run(folder, "good.mkv", "--device", "cuda"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("no/such/folder/out.mkv", "no/such/folder"),
        ("../notes.txt/out.mkv", "notes.txt"),
        ("out.nosuchcontainer", "out.nosuchcontainer"),
    ],
)
def test_an_output_that_cannot_be_written(folder: Path, output: str, words: str) -> None:
    assert words in one_sentence(run(folder, "good.mkv", output=output))


@pytest.mark.slow
def test_a_disk_that_is_full(folder: Path, tmp_path: Path) -> None:
    """Writing fails after 4 KiB: as near to it as one comes without a file system of its own."""
    source = write_clip(tmp_path / "in.mkv", frames=30, size=(320, 240), codec="ffv1")
    (tmp_path / "out").mkdir()
    arguments = ["enhance", str(source), str(tmp_path / "out" / "out.mkv"), "--codec", "ffv1"]
    done = subprocess.run(
        [sys.executable, "-c", START, *arguments],
        env=process_env({"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert "out.mkv" in one_sentence(Done(done.returncode, done.stdout, done.stderr))
    assert not list((tmp_path / "out").iterdir())
