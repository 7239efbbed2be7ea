"""`vqe bench SUBJECT`: how fast this machine is, and where the time goes; a file of `vqe_cli/bench` each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vqe_cli.cli.console import guarded, results, write_json
from vqe_cli.cli.options import Debug, JsonFile, complete_pipelines
from vqe_cli.text import printable

bench_app = typer.Typer(
    help="Measure how fast this machine is, and where the time goes.",
    epilog="Example: vqe bench pipeline in.mkv",
    no_args_is_help=True,
)


Model = Annotated[
    str | None, typer.Option(help="Pipeline of weights.toml.", autocompletion=complete_pipelines)
]
Weights = Annotated[list[Path] | None, typer.Option(help="Files in place of the pipeline's.")]


def pipeline_command(
    input: Annotated[Path, typer.Argument(help="A video.")],
    model: Model = None,
    weights: Weights = None,
    tta: Annotated[int | None, typer.Option(help="Flips and rotations averaged: 1, 2, 4 or 8.")] = None,
    device: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    precision: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Enhance a video once: frames per second, and each part's share of the time."""
    from vqe_cli.bench.pipeline import bench_pipeline

    chosen = {"model": model, "weights": tuple(weights or ()), "tta": tta}
    report("Pipeline", bench_pipeline(input, {**chosen, "device": device, "precision": precision}), json_file)


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


EXAMPLES = {
    "pipeline": "pipeline samples/lq/bunny.mkv --model fast",
    "eval": "eval --gt samples/truth --pred samples/lq",
    "train": "train --config configs/fast.yaml --data corpus",
}
COMMANDS: dict[str, Callable[..., None]] = {
    "pipeline": pipeline_command,
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
