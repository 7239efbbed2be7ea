#!/usr/bin/env python3
"""What a pipeline gains on a validation folder: python tools/gains.py --data corpus/val --recipes qp37

Written FFV1 files against the truth, both by one matrix, in `psnr-rgb-float`, luma PSNR and MS-SSIM.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.cli.bench import report  # noqa: E402
from vqe_cli.cli.console import say  # noqa: E402
from vqe_cli.errors import VqeError  # noqa: E402
from vqe_cli.measure.compare import compare_pair  # noqa: E402
from vqe_cli.measure.result import Options, PairResult, gain  # noqa: E402
from vqe_cli.measure.tables import signed  # noqa: E402
from vqe_cli.runs.run import Restorer  # noqa: E402
from vqe_cli.runs.settings import Settings  # noqa: E402
from vqe_cli.training.library import clips_below  # noqa: E402

RECIPES = "qp37,hm-ldp-qp37,rate-60k"
RGB = "psnr-rgb-float"  # as networks see pictures: what training lowers the error of
METRICS = (RGB, "psnr-y", "ms-ssim")
# Settings under which a network sees one frame at a time; peaks would be fetched into its context.
SINGLE_FRAMES = {"chunk": 1, "overlap": 0, "pqf": "none"}


def measured_gains(
    data: Path,
    recipes: Sequence[str],
    options: dict[str, Any],
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Enhance every clip of `data/lq/RECIPE` as the settings in `options` say and compare with `data/raw`.

    What is enlarged (`scale` in the options) is held against the bicubic enlargement of the input.

    The result has the list `recipes` (a row for each: mean gains over clips, the clip that gains least, the
    change of the standard deviation of per-frame PSNR, frames per second) and the list `clips`. Gains are in
    dB (of RGB with chroma enlarged in float, which reads higher than `psnr`) and in units of MS-SSIM. Raises
    VqeError for a folder or a clip that is missing.
    """
    rows, clips = [], []
    with tempfile.TemporaryDirectory() as folder, Restorer() as restorer:
        written = Path(folder) / "enhanced.mkv"
        for recipe in recipes:
            results, seconds, frames = [], 0.0, 0
            for lq in clips_of(data / "lq" / recipe):
                settings = Settings(input=lq, output=written, codec="ffv1", overwrite=True, **options)
                report = restorer.enhance(settings)
                only = Options(max_frames=settings.frames)
                result = compare_pair(truth_of(data, lq), written, lq, METRICS, only)
                results.append(replace(result, name=lq.stem))
                seconds, frames = seconds + report.wall_s, frames + report.frames
                clips.append({"recipe": recipe, "clip": lq.stem, **gains_of(results[-1])})
                progress(f"{recipe} {lq.stem}: {signed(_psnr_gain(results[-1]), RGB)} dB")
            rows.append(row(recipe, results, frames / seconds))
    return {"model": options.get("model"), "recipes": rows, "clips": clips}


def clips_of(folder: Path) -> list[Path]:
    """The clips of a folder, by name, without the records of `vqe compress` beside them."""
    found = list(clips_below(folder).values())
    if not found:
        raise VqeError(f"{folder} holds no clips.", "A validation folder holds raw/ and lq/RECIPE/.")
    return found


def truth_of(data: Path, lq: Path) -> Path:
    """The truth of a compressed clip: the clip of its name in raw/."""
    truth = clips_below(data / "raw").get(lq.stem)
    if truth is None:
        raise VqeError(f"{lq} has no truth {data / 'raw' / lq.stem}.*.", "Put it there.")
    return truth


def gains_of(result: PairResult) -> dict[str, float | None]:
    """Output minus input, by metric, None where it does not apply or is infinite.

    `fluctuation` is the change of the standard deviation of per-frame PSNR, in dB.
    """
    assert result.given is not None
    found = {name: change(gain(result.output[name], result.given[name]), 0.0) for name in METRICS}
    deviations = (result.output[RGB].deviation, result.given[RGB].deviation)
    return {**found, "fluctuation": change(*deviations)}


def _psnr_gain(result: PairResult) -> float | None:
    assert result.given is not None
    return gain(result.output[RGB], result.given[RGB])


def change(after: float | None, before: float | None) -> float | None:
    """The difference, to four decimals; None where either is missing or it is infinite."""
    if after is None or before is None or not math.isfinite(after - before):
        return None
    return round(after - before, 4)


def row(recipe: str, results: Sequence[PairResult], fps: float) -> dict[str, Any]:
    """One line of the table: a recipe's means and its worst clip.

    worst_clip: of a clip that equalled the truth and no longer does, the gain is infinite and not in the
    mean; none is worse.
    """
    by_clip = [gains_of(result) for result in results]
    columns = {
        metric: [value for found in by_clip if (value := found[metric]) is not None]
        for metric in (*METRICS, "fluctuation")
    }
    means = {metric: round(mean(values), 4) if values else None for metric, values in columns.items()}
    found = [_psnr_gain(result) for result in results]
    gains = [math.inf if gain is None else gain for gain in found]
    place = gains.index(min(gains))
    least = min(columns["ms-ssim"], default=None)
    return {
        "recipe": recipe,
        **means,
        "worst_psnr": by_clip[place][RGB],
        "worst_clip": results[place].name,
        "worst_ms_ssim": least,
        "fps": round(fps, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    add_data(parser)
    parser.add_argument("--tta", type=int, choices=(1, 2, 4, 8), help="flips and rotations averaged")
    parser.add_argument("--stages", choices=("1", "2", "both"))
    parser.add_argument(
        "--single-frames", action="store_true", help="every frame by itself: what neighbours gain"
    )
    given = parser.parse_args(arguments)
    options = {**options_of(given), "tta": given.tta, "stages": given.stages}
    if given.single_frames:
        options |= SINGLE_FRAMES
    report("Gains", measured_gains(given.data, given.recipes.split(","), options, say), given.json)


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that say which clips are used, and by which networks they are enhanced."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with raw/ and lq/RECIPE/"
    )
    parser.add_argument("--recipes", default=RECIPES, help="separated by commas")
    add_networks(parser)
    parser.add_argument("--scale", type=int, choices=(1, 2, 4), default=1, help="against bicubic enlargement")
    parser.add_argument("--frames", type=int, help="only the first frames of each clip")


def add_networks(parser: argparse.ArgumentParser) -> None:
    """The options that say by which networks, and where the report goes."""
    parser.add_argument("--model", help="pipeline of weights.toml")
    parser.add_argument(
        "--weights", type=Path, action="append", default=[], help="in place of the pipeline's"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="- is stdout")


def options_of(given: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Settings` that `add_data` asks for."""
    weights = tuple(given.weights)
    return {"model": given.model, "weights": weights, "scale": given.scale, "frames": given.frames}


if __name__ == "__main__":
    main()
