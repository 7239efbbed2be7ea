"""`vqe bench SUBJECT`: how fast the parts are here; each subject is one file in `vqe_cli/bench`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vqe_cli.cli.console import guarded, results, say, write_json
from vqe_cli.cli.options import Debug, JsonFile, complete_pipelines
from vqe_cli.text import printable

bench_app = typer.Typer(
    help="Measures how fast the parts are here.",
    epilog="Example: vqe bench headers",
    no_args_is_help=True,
)


Model = Annotated[
    str | None, typer.Option(help="Pipeline of weights.toml.", autocompletion=complete_pipelines)
]
Weights = Annotated[list[Path] | None, typer.Option(help="Files in place of the pipeline's.")]
Data = Annotated[Path, typer.Option(help="Folder with raw/ and lq/RECIPE/.")]
Recipes = Annotated[str, typer.Option(help="Recipes, separated by commas.")]
Scale = Annotated[int, typer.Option(help="1, 2 or 4; against bicubic enlargement.")]
RECIPES = "qp37,hm-ldp-qp37,rate-60k"
Frames = Annotated[int | None, typer.Option(min=1, help="Only the first frames of each clip.")]


def headers_command(
    count: Annotated[int, typer.Option(min=1, help="How many headers to read.")] = 100_000,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Read HEVC headers: the QP of every picture without decoding."""
    from vqe_cli.bench.headers import bench_headers

    report("HEVC headers", bench_headers(count), json_file)


def gains_command(
    data: Data,
    recipes: Recipes = RECIPES,
    model: Model = None,
    weights: Weights = None,
    tta: Annotated[int | None, typer.Option(help="Turns averaged: 1, 2, 4 or 8.")] = None,
    stages: Annotated[str | None, typer.Option(help="1, 2 or both.")] = None,
    frames: Frames = None,
    scale: Scale = 1,
    single_frames: Annotated[
        bool, typer.Option("--single-frames", help="Feed every frame by itself: what neighbours are worth.")
    ] = False,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Enhance the clips of a validation folder and compare the written files with their truth."""
    from vqe_cli.bench.gains import SINGLE_FRAMES, bench_gains

    options: dict[str, Any] = {
        "model": model,
        "weights": tuple(weights or ()),
        "tta": tta,
        "stages": stages,
        "scale": scale,
    }
    if single_frames:
        options |= SINGLE_FRAMES
    found = bench_gains(data, recipes.split(","), {**options, "frames": frames}, say)
    report("Gains", found, json_file)


def strength_command(
    data: Data,
    recipes: Recipes = RECIPES,
    model: Model = None,
    weights: Weights = None,
    tta: Annotated[int, typer.Option(help="Turns that show the spread; 1: leave it out.")] = 2,
    scale: Scale = 1,
    frames: Frames = None,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Fit `residual_scale` and `tta_noise_ratio` (weights.toml) on clips whose truth is known."""
    from vqe_cli.bench.strength import bench_strength

    options = {"model": model, "weights": tuple(weights or ()), "scale": scale, "frames": frames}
    report("Strength", bench_strength(data, recipes.split(","), options, tta, say), json_file)


def pipeline_command(
    input: Annotated[Path, typer.Argument(help="A video.")],
    model: Model = None,
    weights: Weights = None,
    tta: Annotated[int | None, typer.Option(help="Turns averaged: 1, 2, 4 or 8.")] = None,
    device: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    precision: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Enhance a video once: frames per second, and each part's share of the time."""
    from vqe_cli.bench.pipeline import bench_pipeline

    chosen = {"model": model, "weights": tuple(weights or ()), "tta": tta}
    report("Pipeline", bench_pipeline(input, {**chosen, "device": device, "precision": precision}), json_file)


def reach_command(
    input: Annotated[Path, typer.Argument(help="A video.")],
    model: Model = None,
    weights: Weights = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames to use.")] = 48,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Measure what too little overlap costs, in chunks and in tiles."""
    from vqe_cli.bench.reach import bench_reach

    options = {"model": model, "weights": tuple(weights or ())}
    report("Reach", bench_reach(input, options, frames), json_file)


def eval_command(
    gt: Annotated[Path, typer.Option(help="The truth: a video or a folder.")],
    pred: Annotated[Path, typer.Option(help="What is judged, paired as by `vqe eval`.")],
    repeats: Annotated[int, typer.Option(min=1, help="Times each way is run; the best counts.")] = 3,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Measure quality: our speed against ffmpeg-quality-metrics, or FFmpeg's filters where that is absent."""
    from vqe_cli.bench.eval import bench_eval

    report("Measuring quality", bench_eval(gt, pred, repeats), json_file)


def train_command(
    config: Annotated[Path, typer.Option(metavar="FILE", help="Config of vqe train-stage.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder with train/ and val/.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the config.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to train.")] = 30,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]|mps", help="Where to compute.")] = "auto",
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Train for a while: clips a second, time without computing, share of the machine's matrix rate."""
    from vqe_cli.bench.train import bench_train
    from vqe_cli.training.config import load

    report("Training", bench_train(load(config, changes or []), data, seconds, device), json_file)


def segments_command(
    input: Annotated[Path, typer.Argument(help="A video, which is looped.")],
    model: Model = None,
    weights: Weights = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the looped clip.")] = 120,
    workers: Annotated[int, typer.Option(min=0, help="Compared with one; 0: not at all.")] = 2,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Measure what segments cost in time and bytes, what workers gain, and how soon a run goes on."""
    from vqe_cli.bench.segments import bench_segments

    options = {"model": model, "weights": tuple(weights or ())}
    report("Segments", bench_segments(input, options, seconds, workers, say), json_file)


EXAMPLES = {
    "headers": "headers --count 100000",
    "gains": "gains --data corpus/val --recipes qp37",
    "strength": "strength --data corpus/val --recipes qp22,qp37 --model balanced --frames 5",
    "pipeline": "pipeline samples/lq/bunny.mkv --model fast",
    "reach": "reach samples/lq/bunny.mkv --model fast",
    "segments": "segments samples/lq/bunny.mkv --model fast",
    "eval": "eval --gt samples/truth --pred samples/lq",
    "train": "train --config configs/fast.yaml --data corpus",
}
COMMANDS: dict[str, Callable[..., None]] = {
    "headers": headers_command,
    "gains": gains_command,
    "strength": strength_command,
    "pipeline": pipeline_command,
    "reach": reach_command,
    "segments": segments_command,
    "eval": eval_command,
    "train": train_command,
}
for _name, _command in COMMANDS.items():
    bench_app.command(_name, epilog=f"Example: vqe bench {EXAMPLES[_name]}")(guarded(_command))


def report(title: str, found: Mapping[str, Any], json_file: JsonFile) -> None:
    """Results as a table, or as JSON where that is wanted; a list of mappings is a table of its own."""
    if json_file:
        write_json(found, json_file)
    if str(json_file) == "-":
        return
    from rich.table import Table

    console = results()
    summary = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            console.print(_rows(name, value))
        else:
            summary.add_row(name.replace("_", " "), shown(value))
    console.print(summary)


def shown(value: Any) -> str:
    """A fraction with four significant digits, whole numbers with thousands marked, all else as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if type(value) is int else printable(value)


def _rows(title: str, rows: list[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title=title.replace("_", " "), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(
            name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right"
        )
    for row in rows:
        table.add_row(*(shown(value) for value in row.values()))
    return table
