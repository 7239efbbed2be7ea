"""Distances between sets of frames: against SciPy and plain loops, and on networks made on the spot."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from small_clips import clip, write

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.report import Results
from vqe_cli.measure.result import Options, PairResult
from vqe_cli.measure.sets import FeatureNetwork, check_sets, frechet_distance, kernel_distance


def features(count: int, width: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(seed / 10, 1 + seed / 5, (count, width)) @ draw.normal(0, 1, (width, width))


@pytest.mark.parametrize(("counts", "width"), [((60, 50), 12), ((9, 11), 24)])
def test_frechet_distance_is_scipys(counts: tuple[int, int], width: int) -> None:
    """Also with fewer features than numbers in them, where covariances are singular."""
    first, second = features(counts[0], width, 1), features(counts[1], width, 2)
    covariances = [np.cov(each, rowvar=False) for each in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1] + 0j).real
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6 * np.trace(covariances[0]))


def test_kernel_distance_is_that_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqe_cli.measure.sets.ROWS_AT_ONCE", 4)
    first, second = features(10, 6, 1), features(7, 6, 2)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / len(x) + 1) ** 3

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])
        for rows in (first, second)
    ]
    between = np.mean([kernel(x, y) for x in first for y in second])
    assert kernel_distance(first, second) == pytest.approx(sum(within) - 2 * between)


class Pictures(torch.nn.Module):
    """Means of channels and of their squares; asks for features as public files do."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        pictures = pictures / 255
        return torch.cat([pictures.mean(dim=(2, 3)), pictures.square().mean(dim=(2, 3))], dim=1)


class Clips(torch.nn.Module):
    """Means over a clip of 16 frames, and how much it moves."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        assert clips.shape[2] == 16
        moved = (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean(dim=(2, 3, 4))
        return torch.cat([clips.mean(dim=(2, 3, 4)), moved], dim=1)


class Broken(torch.nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean(dim=(2, 3)) / 0 * 0


def saved(network: torch.nn.Module, path: Path) -> Path:
    torch.jit.script(network).save(str(path))
    return path


def test_distances_are_over_all_videos(tmp_path: Path) -> None:
    """Two videos' frames are one set; the noisier input lies farther away than the output."""
    networks = {
        "fid_network": saved(Pictures(), tmp_path / "p.pt"),
        "vid_network": saved(Clips(), tmp_path / "c.pt"),
    }
    options = Options(sets=("fid", "kid", "vid"), **networks)
    results: list[PairResult] = []
    for name, start in (("a", 0), ("b", 40)):
        gt, out, lq = (
            write(tmp_path / f"{name}_{side}.mkv", clip(33, noise, start=start))
            for side, noise in (("gt", 0), ("out", 4), ("lq", 14))
        )
        results.append(compare_pair(gt, out, lq, ["psnr"], options))
    found = {each.metric: each for each in Results(results, ("psnr",), options=options).distances}
    assert [(each.metric, each.count) for each in found.values()] == [("fid", 66), ("kid", 66), ("vid", 4)]
    for each in found.values():
        assert each.output is not None and each.given is not None
        assert each.output < each.given
    sides = [
        np.concatenate([row for r in results for row in r.features["image"][side]])
        for side in ("truth", "output")
    ]
    assert sides[0].shape == (66, 6)
    assert found["fid"].output == frechet_distance(*sides)


def test_networks_that_cannot_be_used(tmp_path: Path) -> None:
    text = tmp_path / "text.pt"
    text.write_text("no network")
    for path in (text, tmp_path / "missing.pt"):
        with pytest.raises(VqeError, match=path.name):
            FeatureNetwork(path)
    gt = write(tmp_path / "gt.mkv", clip(3))
    broken = Options(sets=("fid",), fid_network=saved(Broken(), tmp_path / "broken.pt"))
    with pytest.raises(VqeError, match=r"broken\.pt gives NaN.*picture 1 of the truth"):
        compare_pair(gt, gt, metrics=["psnr"], options=broken)
    wrong = Options(sets=("fid",), fid_network=saved(Clips(), tmp_path / "clips.pt"))
    with pytest.raises(VqeError, match=r"clips\.pt fails on pictures"):
        compare_pair(gt, gt, metrics=["psnr"], options=wrong)


def test_what_a_distance_needs_is_said(tmp_path: Path) -> None:
    with pytest.raises(VqeError, match="--fid-network"):
        check_sets(["kid"], 1, None, tmp_path)
    with pytest.raises(VqeError, match="--vid-network"):
        check_sets(["vid"], 1, tmp_path, None)
    with pytest.raises(VqeError, match="--every"):
        check_sets(["vid"], 10, tmp_path, tmp_path)
