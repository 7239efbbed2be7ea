"""Fitted weights are those of a least-squares solver, and what they are said to gain is what they gain."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_clips import clip, write

from vqe_cli.ensemble.fitting import ClipErrors, errors_of_results, fit, least_squares
from vqe_cli.ensemble.results import Results, Writing, fuse_results
from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.weights.ensembles import Fusion


def errors_of(errors: np.ndarray, name: str = "clip", has_input: bool = False) -> ClipErrors:
    """errors: (K, F, samples)."""
    products = np.einsum("ifn,jfn->fij", errors, errors) / errors.shape[2]
    return ClipErrors(name, torch.from_numpy(products), has_input)


def test_the_weights_are_a_least_squares_solvers() -> None:
    """With w3 = 1 - w1 - w2 the problem is a plain one, which numpy solves from the errors themselves."""
    draw = np.random.default_rng(3)
    errors = draw.normal(0, [[[0.02]], [[0.03]], [[0.025]]], (3, 4, 900)) + 0.01 * draw.normal(size=(4, 900))
    flat = errors.reshape(3, -1)
    truth = np.linalg.lstsq((flat[:2] - flat[2]).T, -flat[2], rcond=None)[0]
    found = fit(["a", "b", "c"], [errors_of(errors)])
    np.testing.assert_allclose(found.weights[:2], truth, atol=1e-5)
    assert sum(found.weights) == pytest.approx(1)


def test_every_clip_counts_alike() -> None:
    """A clip with ten times the error does not decide alone, nor does the order of members."""
    draw = np.random.default_rng(4)
    calm = draw.normal(0, [[[0.01]], [[0.02]]], (2, 2, 5000))
    noisy = draw.normal(0, [[[0.2]], [[0.1]]], (2, 2, 5000))
    weights = fit(["a", "b"], [errors_of(calm), errors_of(noisy)]).weights
    assert weights[0] == pytest.approx(0.5, abs=0.03)
    turned = fit(["b", "a"], [errors_of(calm[::-1]), errors_of(noisy[::-1])]).weights
    np.testing.assert_allclose(turned, weights[::-1], atol=1e-6)


def test_members_that_are_alike_share_and_one_without_error_gets_all() -> None:
    alike = torch.full((2, 2), 0.01, dtype=torch.float64)
    assert least_squares(alike) == pytest.approx([0.5, 0.5])
    perfect = torch.diag(torch.tensor([0.0, 0.01], dtype=torch.float64))
    assert least_squares(perfect) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_what_is_printed_is_what_written_files_score(tmp_path: Path) -> None:
    """The fused file, measured as `vqe eval` does, gains what the fit says; rounding costs a little."""
    truth = write(tmp_path / "truth.mkv", clip(3))
    noise = [np.random.default_rng(seed) for seed in (1, 2)]
    members = []
    for name, draw, level in zip("ab", noise, (4.0, 6.0), strict=True):
        frames = [
            tuple(
                np.clip(plane + draw.normal(0, level, plane.shape).round(), 0, 255).astype(np.uint8)
                for plane in f
            )
            for f in clip(3)
        ]
        members.append(write(tmp_path / f"{name}.mkv", frames))
    results = Results(tuple(members), given=members[1])
    found = fit(["a", "b"], [errors_of_results("clip", results, truth)])
    # Independent errors are weighted by the inverse of their variance.
    assert found.weights == pytest.approx([36 / 52, 16 / 52], abs=0.05)
    fused = tmp_path / "fused.mkv"
    fuse_results(results, fused, Fusion("weighted", found.weights), Writing(codec="ffv1"))
    told = found.as_dict()
    measured = compare_pair(truth, fused, metrics=("psnr-rgb-float",)).output["psnr-rgb-float"].mean
    assert measured == pytest.approx(told["psnr_fitted"], abs=0.1)
    assert told["best_member"] == "a"
    assert told["gain_over_best_db"] == pytest.approx(
        told["psnr_fitted"] - told["members"][0]["psnr"], abs=1e-3
    )
    assert told["gain_over_best_db"] > 1
    assert told["gain_over_input_db"] > told["gain_over_best_db"]


def test_a_truth_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.mkv", clip(3)), write(tmp_path / "b.mkv", clip(3))
    longer = write(tmp_path / "longer.mkv", clip(4))
    larger = write(tmp_path / "larger.mkv", clip(3, width=80))
    with pytest.raises(VqeError, match=r"a\.mkv has 3 and .*longer\.mkv has 4"):
        errors_of_results("clip", Results((a, b)), longer)
    with pytest.raises(VqeError, match=r"is 80x48, the results of .* are 64x48"):
        errors_of_results("clip", Results((a, b)), larger)
