"""`vqe bench IN.mkv`, `vqe bench SUBJECT`: how fast this machine is; a file of `vqe_cli/bench` each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vqe_cli.cli.console import check_target, guarded, messages, results, say, write_json
from vqe_cli.cli.options import Debug, JsonFile, complete_pipelines
from vqe_cli.text import clock_text, printable


class BenchGroup(TyperGroup):
    """`vqe bench IN.mkv` is `vqe bench file IN.mkv`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["file", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=BenchGroup,
    help="Measure how fast a file would be enhanced here (`vqe bench IN.mkv`), and other speeds.",
    epilog="Example: vqe bench in.mkv",
    no_args_is_help=True,
)


def file_command(
    input: Annotated[Path, typer.Argument(help="A video.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Pipelines, with commas between (default: fast,balanced).",
            metavar="NAME,NAME",
            autocompletion=complete_pipelines,
        ),
    ] = None,
    weights: Annotated[list[Path] | None, typer.Option(help="Files in place of a pipeline's.")] = None,
    scale: Annotated[int, typer.Option(help="Size over that of the input.", metavar="1|2|4")] = 1,
    tta: Annotated[int | None, typer.Option(help="Flips and rotations averaged: 1, 2, 4 or 8.")] = None,
    device: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    precision: Annotated[str, typer.Option(help="As for `vqe enhance`.")] = "auto",
    engine: Annotated[str, typer.Option(help="As for `vqe enhance`; auto: all there are.")] = "auto",
    codec: Annotated[str | None, typer.Option(help="As for `vqe enhance`.")] = None,
    json_file: JsonFile = None,
    debug: Debug = False,
) -> None:
    """Say how long a file would take here, by pipeline and engine, and where the time goes; `file` may be
    left out.

    A few frames are decoded, enhanced and encoded, and what they take is scaled to the file: a minute at
    most, longer for `--model best`.
    """
    from vqe_cli.bench.file import MODELS, bench_file

    options: dict[str, Any] = {
        "scale": scale,
        "tta": tta,
        "device": device,
        "precision": precision,
        "engine": engine,
    }
    options |= {"codec": codec, "weights": tuple(weights or ())}
    names: Sequence[str | None] = model.split(",") if model else (None,) if weights else MODELS
    check_target(json_file)
    with messages().status(printable(f"measuring {input}")) as status:
        found = bench_file(input, names, options, lambda step: status.update(printable(step)))
    if found["busy"]:
        say("warning: other programs compute on this machine; the figures are lower than without them")
    if json_file:
        write_json(found, json_file)
    if str(json_file) != "-":
        report("Enhancing", in_words(found), None)


def in_words(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured of a file as a table has it."""
    chosen = [
        {
            "pipeline": plan["model"],
            "engine": plan["engine"],
            "precision": plan["precision"],
            "chunk": plan["chunk"],
            "overlap": plan["overlap"],
            "tiles": ", ".join(str(side) if side else "whole" for side, _ in plan["tiles"]),
            "tta": plan["tta"],
            "codec": plan["codec"],
        }
        for plan in found["auto"]
    ]
    rows = [
        {
            "pipeline": row["pipeline"],
            "engine": row["engine"],
            "fps": float(f"{row['fps']:.3g}"),
            "whole_file": "unknown"
            if row["whole_file_s"] is None
            else clock_text(round(row["whole_file_s"])),
            **{part: round(row[f"{part}_ms"], 1) for part in ("decode", "network", "encode")},
            "bottleneck": row["bottleneck"],
        }
        for row in found["rows"]
    ]
    about = {name: found[name] for name in ("input", "frames", "device", "cores")}
    return {"Parts of a frame in milliseconds": rows, "What auto takes": chosen, **about}


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
    "file": "samples/lq/bunny.mkv",
    "eval": "eval --gt samples/truth --pred samples/lq",
    "train": "train --config configs/fast.yaml --data corpus",
}
COMMANDS: dict[str, Callable[..., None]] = {
    "file": file_command,
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
