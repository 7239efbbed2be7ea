#!/usr/bin/env python3
"""Fit `residual_scale` and `tta_noise_ratio` of weights.toml: what a pipeline's change is multiplied by.

python tools/residual_scale.py --data corpus/val --recipes qp22,qp37 --model balanced --frames 5
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gains import add_data, clips_of, options_of, truth_of  # noqa: E402

from vqe_cli.cli.bench import report  # noqa: E402
from vqe_cli.cli.console import say  # noqa: E402
from vqe_cli.ensemble.fitting import ClipErrors  # noqa: E402
from vqe_cli.restore.engine import load  # noqa: E402
from vqe_cli.restore.ensemble import LoadedEnsemble  # noqa: E402
from vqe_cli.runs.run import errors_of_pipelines  # noqa: E402
from vqe_cli.runs.settings import Settings  # noqa: E402
from vqe_cli.weights.ensembles import Ensemble  # noqa: E402


def fitted(
    data: Path,
    recipes: Sequence[str],
    options: dict[str, Any],
    tta: int = 2,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Fit the multiple of what a pipeline changes on the clips of `data/lq/RECIPE`, before rounding.

    Whatever residual scale the pipeline has is left out. options: of `Settings`.

    The result has `recipes`, a row for each: `best`, the multiple of least squared error (each clip counts by
    the error of its input), `gain` and `gain_at_best`, mean RGB-PSNR gains (dB) without and with it, `worst`
    and `worst_at_best`, of the clip that gains least; and the `tta_noise_ratio` that averages of
    `tta` flips and rotations show (0 with tta 1, for which nothing is averaged). Raises VqeError for a folder
    or a clip that is missing.
    """
    model = unscaled(options, 1)
    averaging = unscaled(options, tta)
    rows, energies = [], []
    for recipe in recipes:
        clips = []
        for lq in clips_of(data / "lq" / recipe):
            truth = truth_of(data, lq)
            clips.append(errors_of_pipelines(lq.stem, Settings(lq, lq, **options), model, truth))
            if tta > 1:
                average = errors_of_pipelines(lq.stem, Settings(lq, lq, **options), averaging, truth)
                energy = change_energy(average)
                energies += [change_energy(clips[-1]) / energy] if energy else []
            progress(f"{recipe} {lq.stem}: {multiple(clips[-1:]):.3f}")
        rows.append(row(recipe, clips))
    noise = noise_ratio(mean(energies), tta) if energies else 0.0
    return {"tta_noise_ratio": round(noise, 3), "recipes": rows}


def unscaled(options: dict[str, Any], tta: int) -> LoadedEnsemble:
    """The pipeline of the settings by itself, what it changes left as the networks give it."""
    loaded = load(Settings(Path(), Path(), tta=tta, **options).networks)
    plain = replace(loaded, pipeline=replace(loaded.pipeline, residual_scale=(), tta_noise_ratio=0.0))
    return LoadedEnsemble(Ensemble(loaded.name, (loaded.name,)), (plain,), None, loaded.weights)


def multiple(clips: Sequence[ClipErrors]) -> float:
    """The multiple of the change with the least squared error; each clip counts by the error of its input.

    A clip whose input equals the truth has nothing to gain and is left out.
    """
    wanted, given = 0.0, 0.0
    for clip in clips:
        _, (mixed, compressed) = clip.products.mean(dim=0).tolist()
        if not compressed:
            continue
        wanted += (compressed - mixed) / compressed
        given += change_energy(clip) / compressed
    return wanted / given if given else 1.0


def change_energy(clip: ClipErrors) -> float:
    """Mean square of the change: of the difference of both errors."""
    difference = clip.products.new_tensor([1.0, -1.0])
    return float(difference @ clip.products.mean(dim=0) @ difference)


def noise_ratio(ratio: float, tta: int) -> float:
    """The share of noise in changes one of which has `ratio` times the energy of the average of `tta`."""
    return (ratio - 1) / (1 - ratio / tta)


def row(recipe: str, clips: Sequence[ClipErrors]) -> dict[str, Any]:
    """One line of the table."""
    best = multiple(clips)
    before, after = (
        [clip.psnr([share, 1 - share]) - clip.psnr([0.0, 1.0]) for clip in clips] for share in (1.0, best)
    )
    return {
        "recipe": recipe,
        "best": round(best, 3),
        "gain": round(mean(before), 4),
        "gain_at_best": round(mean(after), 4),
        "worst": round(min(before), 4),
        "worst_at_best": round(min(after), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    add_data(parser)
    parser.add_argument(
        "--tta", type=int, default=2, help="flips and rotations that show the noise; 1: leave it out"
    )
    given = parser.parse_args(arguments)
    found = fitted(given.data, given.recipes.split(","), options_of(given), given.tta, say)
    report("Residual scale", found, given.json)


if __name__ == "__main__":
    main()
