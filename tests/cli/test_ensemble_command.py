"""`vqe ensemble` from the command line: both ways of using it, folders, fitting, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import Done, one_sentence, vqe
from made_clips import decoded, packets, write_clip
from tiny_weights import write_registry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry, results a/ and b/ of the input in.mkv, and folders of them."""
    folder = tmp_path_factory.mktemp("ensemble")
    registry = write_registry(folder)
    registry.write_text(registry.read_text() + '[ensembles.duo]\nmembers = ["tiny", "pair"]\n')
    write_clip(folder / "in.mkv", frames=3, sound=True)
    for name in ("a", "b", "raw"):
        (folder / name).mkdir()
        for clip, frames in (("one", 3), ("two", 2)):
            write_clip(folder / name / f"{clip}.mkv", frames, codec="libx265" if name != "raw" else "ffv1")
    write_clip(folder / "small.mkv", frames=3, size=(32, 32))
    return folder


def run(folder: Path, *arguments: str | Path) -> Done:
    found = [folder / each if (folder / each).exists() else each for each in arguments]
    return vqe("ensemble", *found, env={"VQE_WEIGHTS_TOML": str(folder / "weights.toml")})


def test_pipelines_on_one_input_equal_the_ensemble_of_their_name(folder: Path, tmp_path: Path) -> None:
    """Sound comes from the input; the report is that of enhance."""
    common = ["--codec", "ffv1", "--json", tmp_path / "run.json"]
    done = run(folder, "--input", "in.mkv", "--models", "tiny,pair", "--out", tmp_path / "a.mkv", *common)
    assert done.code == 0, done.stderr
    assert json.loads((tmp_path / "run.json").read_text())["plan"]["model"] == "mean of tiny, pair"
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    done = vqe("enhance", folder / "in.mkv", tmp_path / "b.mkv", "--model", "duo", "--codec", "ffv1", env=env)
    assert done.code == 0, done.stderr
    for one, other in zip(decoded(tmp_path / "a.mkv"), decoded(tmp_path / "b.mkv"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert packets(tmp_path / "a.mkv", "audio") == packets(folder / "in.mkv", "audio")
    listed = vqe("weights", "list", env=env)
    assert "duo: mean of tiny and pair" in listed.stdout


def test_results_and_folders_of_them(folder: Path, tmp_path: Path) -> None:
    """Sound comes from the first; a folder's bad clip does not stop the others."""
    done = run(folder, "in.mkv", folder / "b" / "one.mkv", "--out", tmp_path / "out.mkv", "--quiet")
    assert (done.code, done.stderr) == (0, "")
    assert packets(tmp_path / "out.mkv", "audio") == packets(folder / "in.mkv", "audio")
    done = run(folder, "a", "b", "--out", tmp_path / "all", "--weights", "2,1", "--json", "-")
    assert done.code == 0, done.stderr
    clips = json.loads(done.stdout)["clips"]
    assert [clip["shares"] for clip in clips] == [pytest.approx([2 / 3, 1 / 3])] * 2
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["one.mkv", "two.mkv"]
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    write_clip(mixed / "one.mkv", frames=1)
    write_clip(mixed / "two.mkv", frames=2)
    done = run(folder, "a", mixed, "--out", tmp_path / "some")
    assert "1 of 2 clips failed: one" in one_sentence(done)
    assert "frame counts differ" in done.stderr
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["two.mkv"]


@pytest.mark.parametrize(
    "members", [["a", "b"], ["--input", "a", "--models", "tiny,pair"]], ids=["results", "pipelines"]
)
def test_fitting_prints_weights_and_gain(folder: Path, members: list[str]) -> None:
    done = run(folder, *members, "--fit", "--gt", "raw")
    assert done.code == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("for weights.toml: weights = [")
    weights = [float(weight) for weight in line.partition("[")[2].rstrip("]").split(",")]
    assert len(weights) == 2 and sum(weights) == pytest.approx(1, abs=1e-3)
    assert "gain over the better member" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["in.mkv"], "needs two members or more, and only"),
        (["in.mkv", "missing.mkv"], "missing.mkv does not exist"),
        (["in.mkv", "small.mkv"], "differ in their size: 32x32 and 48x32"),
        (["in.mkv", "in.mkv", "--method", "meen"], "no ensemble method 'meen'. Did you mean 'mean'?"),
        (["in.mkv", "in.mkv", "--method", "gated"], "needs a mask network"),
        (["in.mkv", "in.mkv", "--gate", "gone.safetensors"], "no file of weights"),
        (["in.mkv", "in.mkv", "--gate", "tiny.safetensors"], "is not a mask network"),
        (["in.mkv", "in.mkv", "--method", "guard"], "--lq FILE"),
        (["in.mkv", "in.mkv", "--weights", "1,2,3"], "3 weights for 2 members"),
        (["in.mkv", "in.mkv", "--weights", "1,x"], "list of numbers"),
        (["in.mkv", "a"], "is one video and"),
        (["--input", "in.mkv", "--models", "tiny"], "only tiny is named"),
        (["--input", "in.mkv", "--models", "tiny,pare"], "no pipeline 'pare'. Did you mean 'pair'?"),
        (
            ["--input", "in.mkv", "--models", "tiny,pair", "--method", "guard", "--segment", "0"],
            "whole video",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_go_is_said_in_one_sentence(
    folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert words in one_sentence(run(folder, *arguments, "--out", tmp_path / "out.mkv"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["in.mkv", "in.mkv"],
        ["in.mkv", "in.mkv", "--fit"],
        ["in.mkv", "in.mkv", "--fit", "--gt", "in.mkv", "--out", "x.mkv"],
        ["--input", "in.mkv", "--out", "x.mkv"],
        ["in.mkv", "--input", "in.mkv", "--models", "tiny,pair", "--out", "x.mkv"],
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_wrong_usage(folder: Path, arguments: list[str]) -> None:
    assert run(folder, *arguments).code == 2
