"""LPIPS against the public package, on weights that both make of the same random numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_clips import clip, write

from vqe_cli.errors import VqeError
from vqe_cli.measure import lpips
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.result import Options

# lpips 0.1.4 (richzhang/PerceptualSimilarity), LPIPS(net="alex"), with the weights of `made_up_weights`.
TRUTH = {(64, 96): 0.07264267653226852, (45, 61): 0.06981074810028076}


@pytest.fixture(scope="module")
def made_up_weights() -> dict[str, torch.Tensor]:
    """Numbers in the order of the public checkpoint's sorted keys, where each linear layer stands twice."""
    shapes = {f"lin{index}.model.1.weight": (1, layer[1], 1, 1) for index, layer in enumerate(lpips.LAYERS)}
    shapes |= {
        f"lins.{index}.model.1.weight": (1, layer[1], 1, 1) for index, layer in enumerate(lpips.LAYERS)
    }
    for prefix, out, channels, kernel, _, _ in lpips.LAYERS:
        shapes |= {f"{prefix}.weight": (out, channels, kernel, kernel), f"{prefix}.bias": (out,)}
    source = np.random.RandomState(20220607)
    made = {}
    for key in sorted(shapes):
        values = source.standard_normal(shapes[key]).astype(np.float32)
        if key.startswith("lin"):
            values = np.abs(values)
        else:
            values = values * ((2 / np.prod(shapes[key][1:])) ** 0.5 if values.ndim == 4 else 0.1)
        made[key] = torch.from_numpy(np.asarray(values, np.float32))
    return {key.replace("lins.", "lin"): value for key, value in made.items()}


@pytest.mark.parametrize("size", TRUTH)
def test_equals_the_public_package(made_up_weights: dict[str, torch.Tensor], size: tuple[int, int]) -> None:
    source = np.random.RandomState(7)
    gt = source.randint(0, 256, (3, *size)).astype(np.float32)
    pred = np.clip(gt + source.randint(-30, 31, (3, *size)), 0, 255).astype(np.float32)
    found = lpips.distance(torch.from_numpy(gt), torch.from_numpy(pred), made_up_weights)
    assert found == pytest.approx(TRUTH[size], abs=1e-6)
    assert lpips.distance(torch.from_numpy(gt), torch.from_numpy(gt), made_up_weights) == 0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_in_a_comparison(tmp_path: Path, made_up_weights: dict[str, torch.Tensor], suffix: str) -> None:
    weights = tmp_path / f"weights{suffix}"
    torch.save(made_up_weights, weights) if suffix == ".pth" else save_file(made_up_weights, weights)
    gt, near = write(tmp_path / "gt.mkv", clip(3)), write(tmp_path / "near.mkv", clip(3, noise=1))
    far = write(tmp_path / "far.mkv", clip(3, noise=9))
    result = compare_pair(gt, near, far, metrics=["lpips"], options=Options(lpips_weights=weights))
    assert 0 < result.output["lpips"].mean < result.given["lpips"].mean
    values = result.output["lpips"].values
    assert result.output["lpips"].worst[1] == max(values)


def test_weights_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQE_LPIPS_WEIGHTS", raising=False)
    with pytest.raises(VqeError, match=r"needs weights.*pip install lpips"):
        lpips.LpipsMetric(None)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no checkpoint")
    for path in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(VqeError, match=path.name):
            lpips.LpipsMetric(path)
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, other)
    with pytest.raises(VqeError, match=r"has no LPIPS tensor net\.slice1\.0\.weight"):
        lpips.LpipsMetric(other)
