"""What a pipeline gains on a validation folder: written FFV1 files against the truth, both by one matrix."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.result import PairResult
from vqe_cli.restore.engine import load
from vqe_cli.restore.pipeline import enhance
from vqe_cli.restore.settings import Settings

METRICS = ("psnr", "psnr-y", "ms-ssim")


def bench_gains(
    data: Path,
    recipes: Sequence[str],
    options: dict[str, Any],
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Enhance every clip of `data/lq/RECIPE` as the settings in `options` say and compare with `data/raw`.

    The result has the list `recipes` (a row for each: mean gains over clips, the clip that gains least, the change of
    the standard deviation of per-frame PSNR, frames per second) and the list `clips`. Gains are in dB (`psnr` is RGB)
    and in units of MS-SSIM. Raises VqeError for a folder or a clip that is missing.
    """
    rows, clips = [], []
    with tempfile.TemporaryDirectory() as folder:
        loaded = None
        for recipe in recipes:
            results, seconds, frames = [], 0.0, 0
            for lq in clips_of(data / "lq" / recipe):
                written = Path(folder) / f"{lq.stem}.mkv"
                settings = Settings(input=lq, output=written, codec="ffv1", overwrite=True, **options)
                loaded = loaded or load(settings)
                report = enhance(settings, loaded=loaded)
                result = compare_pair(truth_of(data, lq), written, lq, METRICS)
                written.unlink()
                results.append(result)
                seconds, frames = seconds + report.wall_s, frames + report.frames
                clips.append({"recipe": recipe, "clip": lq.stem, **gains_of(result)})
                progress(f"{recipe} {lq.stem}: {clips[-1]['psnr']:+.3f} dB")
            rows.append(row(recipe, results, frames / seconds))
    return {"model": options.get("model"), "recipes": rows, "clips": clips}


def clips_of(folder: Path) -> list[Path]:
    """The videos of a folder, by name."""
    found = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    if not found:
        raise VqeError(f"{folder} holds no clips.", "A validation folder holds raw/ and lq/RECIPE/.")
    return found


def truth_of(data: Path, lq: Path) -> Path:
    """The truth of a compressed clip: the file of its name below raw/."""
    found = sorted((data / "raw").glob(f"{lq.stem}.*"))
    if not found:
        raise VqeError(f"{lq} has no truth {data / 'raw' / lq.stem}.*.", "Put it there.")
    return found[0]


def gains_of(result: PairResult) -> dict[str, float | None]:
    """Output minus input, by metric; `fluctuation` is that of the standard deviation of per-frame PSNR, in dB."""
    assert result.given is not None
    found: dict[str, float | None] = {}
    for name in METRICS:
        output, given = result.output[name].mean, result.given[name].mean
        found[name] = None if output is None or given is None else output - given
    after, before = result.output["psnr"].deviation, result.given["psnr"].deviation
    found["fluctuation"] = None if after is None or before is None else after - before
    return found


def row(recipe: str, results: Sequence[PairResult], fps: float) -> dict[str, Any]:
    """One line of the table: a recipe's means and its worst clip."""
    by_clip = [(gains_of(result), result.name) for result in results]
    worst, name = min(((found["psnr"] or 0.0, name) for found, name in by_clip))
    means = {
        metric: mean(value for found, _ in by_clip if (value := found[metric]) is not None)
        for metric in (*METRICS, "fluctuation")
    }
    least = min(value for found, _ in by_clip if (value := found["ms-ssim"]) is not None)
    return {
        "recipe": recipe,
        **means,
        "worst_psnr": worst,
        "worst_clip": name,
        "worst_ms_ssim": least,
        "fps": fps,
    }
