"""`vqe enhance --strength`: a dial for the change that the networks make."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import vqe
from made_clips import decoded, write_clip
from tiny_weights import write_registry

import vqe_cli
from vqe_cli.errors import SettingsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strength")
    (folder / "in").mkdir()
    write_clip(folder / "in" / "clip.mkv", frames=3)
    registry = write_registry(folder)
    duo = '\n[ensembles.duo]\nmembers = ["tiny", "pair"]\nweights = [0.3, 0.7]\n'
    registry.write_text(registry.read_text() + duo)
    return folder


def enhanced(folder: Path, output: Path, *options: str) -> list[np.ndarray]:
    arguments = ["--codec", "ffv1", "--json", output.with_suffix(".json"), *options]
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    done = vqe("enhance", folder / "in" / "clip.mkv", output, *arguments, env=env)
    assert done.code == 0, done.stderr
    return [picture.astype(int) for picture in decoded(output)]


@pytest.mark.parametrize("options", [[], ["--model", "pair", "--tta", "2"], ["--model", "duo"]])
def test_none_gives_the_samples_of_the_input(folder: Path, tmp_path: Path, options: list[str]) -> None:
    after = enhanced(folder, tmp_path / "out.mkv", "--strength", "0", *options)
    before = decoded(folder / "in" / "clip.mkv")
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_change_grows_with_it(folder: Path, tmp_path: Path) -> None:
    """To rounding, half of it is half the change and 150 % is half as much again."""
    before = [picture.astype(int) for picture in decoded(folder / "in" / "clip.mkv")]
    whole = enhanced(folder, tmp_path / "whole.mkv")
    inside = [(picture > 20) & (picture < 235) for picture in whole]  # nothing is cut off
    for per_cent in (50, 150):
        changed = enhanced(folder, tmp_path / f"{per_cent}.mkv", "--strength", str(per_cent))
        for one, full, part, where in zip(before, whole, changed, inside, strict=True):
            error = (part - one) - per_cent / 100 * (full - one)
            assert np.abs(error[where]).max() <= 1.5
    assert json.loads((tmp_path / "150.json").read_text())["plan"]["strength"] == 150
    assert any((one != full).any() for one, full in zip(before, whole, strict=True))


@pytest.mark.parametrize("value", ["-1", "151", "much"])
def test_what_is_out_of_range_is_wrong_usage(folder: Path, tmp_path: Path, value: str) -> None:
    done = vqe("enhance", folder / "in" / "clip.mkv", tmp_path / "out.mkv", "--strength", value)
    assert done.code == 2 and "--strength" in done.stderr
    with pytest.raises(SettingsError, match="--strength"):
        vqe_cli.enhance(folder / "in" / "clip.mkv", tmp_path / "out.mkv", strength=200)


def test_results_of_another_strength_are_told_from_these(folder: Path, tmp_path: Path) -> None:
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    assert vqe("enhance", folder / "in", tmp_path / "out", env=env).code == 0
    done = vqe("enhance", folder / "in", tmp_path / "out", "--strength", "50", env=env)
    assert done.code == 1 and "other settings" in done.stderr
