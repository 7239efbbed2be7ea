"""What a pipeline gains on a validation folder: written FFV1 files against the truth, both by one matrix."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.result import Options, PairResult, gain
from vqe_cli.measure.tables import signed
from vqe_cli.runs.pipeline import Restorer
from vqe_cli.runs.settings import Settings
from vqe_cli.training.library import clips_below

METRICS = ("psnr", "psnr-y", "ms-ssim")
# Settings under which a network sees one frame at a time; peaks would be fetched into its context.
SINGLE_FRAMES = {"chunk": 1, "overlap": 0, "pqf": "none"}


def bench_gains(
    data: Path,
    recipes: Sequence[str],
    options: dict[str, Any],
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Enhance every clip of `data/lq/RECIPE` as the settings in `options` say and compare with `data/raw`.

    What is enlarged (`scale` in the options) is held against the bicubic enlargement of the input.

    The result has the list `recipes` (a row for each: mean gains over clips, the clip that gains least, the
    change of the standard deviation of per-frame PSNR, frames per second) and the list `clips`. Gains are in
    dB (`psnr` is RGB) and in units of MS-SSIM. Raises VqeError for a folder or a clip that is missing.
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
                progress(f"{recipe} {lq.stem}: {signed(_psnr_gain(results[-1]), 'psnr')} dB")
            rows.append(row(recipe, results, frames / seconds))
    return {"model": options.get("model"), "recipes": rows, "clips": clips}


def clips_of(folder: Path) -> list[Path]:
    """The clips of a folder, by name, without what `vqe compress` tells of each."""
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
    deviations = (result.output["psnr"].deviation, result.given["psnr"].deviation)
    return {**found, "fluctuation": change(*deviations)}


def _psnr_gain(result: PairResult) -> float | None:
    assert result.given is not None
    return gain(result.output["psnr"], result.given["psnr"])


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
        "worst_psnr": by_clip[place]["psnr"],
        "worst_clip": results[place].name,
        "worst_ms_ssim": least,
        "fps": round(fps, 2),
    }
