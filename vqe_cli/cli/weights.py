"""`vqe weights`: what pipelines there are, whether their files are whole, and how to get more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqe_cli.cli.console import guarded, messages, plain_column, results, say, show, write_json
from vqe_cli.cli.options import Debug, JsonFile, complete_pipelines
from vqe_cli.errors import VqeError, did_you_mean, shortened
from vqe_cli.text import printable

if TYPE_CHECKING:
    from vqe_cli.weights.ensembles import Ensemble
    from vqe_cli.weights.registry import Measured, Pipeline, StageSpec

weights_app = typer.Typer(
    help="Lists, verifies, fetches and imports weights.",
    epilog="Example: vqe weights list",
    no_args_is_help=True,
)
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        show_default=False,
        help="A pipeline; all without it.",
        autocompletion=complete_pipelines,
    ),
]


def list_command(json_file: JsonFile = None, debug: Debug = False) -> None:
    """Say what each pipeline is, what it was trained on and what it measured."""
    from vqe_cli.weights.ensembles import load_ensembles
    from vqe_cli.weights.registry import load_pipelines

    registry, ensembles = load_pipelines(), load_ensembles()
    if json_file:
        described = [_described(pipeline) for pipeline in registry.pipelines]
        write_json([*described, *map(_described_ensemble, ensembles.values())], json_file)
    else:
        _show_list(registry.pipelines, registry.default)
        for ensemble in ensembles.values():
            _show_ensemble(ensemble, registry.default)


def verify_command(name: Name = None, debug: Debug = False) -> None:
    """Compare every file of weights with its sha256 in weights.toml; exit code 1 when one is wrong."""
    bad = 0
    for pipeline in _chosen(name):
        for stage in pipeline.stages:
            try:
                stage.path()
                state = "ok"
            except VqeError as error:
                # A file that can be fetched and was not is no fault.
                fetchable = stage.url is not None and stage.located() is None
                bad += not fetchable
                state = "not fetched" if fetchable else str(error)
            show(f"{pipeline.name} x{pipeline.scale}  {stage.file}  {state}")
    if bad:
        raise VqeError(f"{bad} of the files are damaged or missing.", "The lines above say which.")


def path_command(name: Name = None, debug: Debug = False) -> None:
    """Print where the files of weights are, one path a line."""
    for pipeline in _chosen(name):
        for stage in pipeline.stages:
            found = stage.located()
            if found is None and name:
                stage.path()
            show(found or f"{stage.file} (not on this machine)")


def fetch_command(name: Name = None, debug: Debug = False) -> None:
    """Download weights that do not ship with vqe to the user's cache, checked by sha256."""
    from vqe_cli.weights.cache import cached, download

    stages = [stage for pipeline in _chosen(name) for stage in pipeline.stages]
    for stage in dict.fromkeys(stages):
        if stage.intact():
            say(f"{stage.file}: here already")
            continue
        if not stage.url or not stage.sha256:
            stage.path()
            continue
        target = cached(stage.file)
        with _download_bar(stage.file) as listen:
            download(stage.url, target, stage.sha256, listen)
        show(target)


def import_command(
    checkpoint: Annotated[Path, typer.Argument(help="A public checkpoint, .pth or .safetensors.")],
    output: Annotated[Path, typer.Argument(help="The file to write, for `vqe enhance --weights`.")],
    arch: Annotated[
        str | None, typer.Option(help="pqf_basicvsrpp lets a BasicVSR++ use peak quality frames.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT.")] = False,
    debug: Debug = False,
) -> None:
    """Make a public checkpoint usable: BasicVSR++ or SPyNet of mmediting or mmagic, the official SwinIR."""
    from vqe_cli.weights.public_checkpoints import import_checkpoint

    found = import_checkpoint(checkpoint, output, arch, overwrite)
    parameters = sum(tensor.numel() for tensor in found.weights.values())
    say(f"{found.arch}, {parameters:,} parameters, {found.config}")
    show(output)


EXAMPLES = {
    "list": "list --json -",
    "verify": "verify",
    "path": "path fast",
    "fetch": "fetch best",
    "import": "import basicvsr_plusplus_ntire.pth stage1.safetensors --arch pqf_basicvsrpp",
}
COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_command,
    "verify": verify_command,
    "path": path_command,
    "fetch": fetch_command,
    "import": import_command,
}
for _name, _command in COMMANDS.items():
    weights_app.command(_name, epilog=f"Example: vqe weights {EXAMPLES[_name]}")(guarded(_command))


def _chosen(name: str | None) -> "list[Pipeline]":
    """The pipelines of this name at every scale, all without a name; of an ensemble its members, and its
    mask network as one more. Raises VqeError for an unknown name.
    """
    from vqe_cli.weights.ensembles import load_ensembles, model_names
    from vqe_cli.weights.registry import Pipeline, load_pipelines

    if name is not None and name not in model_names():
        raise VqeError(f"there is no pipeline {shortened(name)}.", did_you_mean(name, model_names()))
    ensembles = [each for each in load_ensembles().values() if name in (None, each.name)]
    wanted = {name, *(member for each in ensembles for member in each.members)}
    masks = [
        Pipeline(each.name, 1, (each.fusion.gate,)) for each in ensembles if each.fusion.gate is not None
    ]
    return [pipe for pipe in load_pipelines().pipelines if name is None or pipe.name in wanted] + masks


def _described(pipeline: "Pipeline") -> dict[str, Any]:
    """A pipeline as JSON."""
    return {
        "name": pipeline.name,
        "scale": pipeline.scale,
        "description": pipeline.description,
        "trained_on": pipeline.trained_on,
        "measured": [vars(row) for row in pipeline.measured],
        "files": [_file(stage) for stage in pipeline.stages],
    }


def _described_ensemble(ensemble: "Ensemble") -> dict[str, Any]:
    """An ensemble as JSON."""
    return {
        "name": ensemble.name,
        "members": list(ensemble.members),
        "method": ensemble.fusion.method,
        "weights": list(ensemble.fusion.weights),
        "description": ensemble.description,
        "measured": [vars(row) for row in ensemble.measured],
    }


def _file(stage: "StageSpec") -> dict[str, Any]:
    found = stage.located()
    return {
        "file": stage.file,
        "path": str(found) if found else None,
        "sha256": stage.sha256,
        "url": stage.url,
    }


def _show_list(pipelines: "tuple[Pipeline, ...]", default: str) -> None:
    """One paragraph a pipeline."""
    for pipeline in pipelines:
        note = " (the default)" if pipeline.name == default else ""
        _show(f" x{pipeline.scale}{note}: {pipeline.description}", bold=pipeline.name)
        if pipeline.trained_on:
            _show(f"  trained on {pipeline.trained_on}")
        _show_measured(pipeline.measured)
        for stage in pipeline.stages:
            found = stage.located()
            size = f"{found.stat().st_size / 2**20:.1f} MiB" if found else "not on this machine"
            _show(f"  {stage.file} ({size})")
    if not pipelines:
        say("weights.toml has no pipelines")


def _show_ensemble(ensemble: "Ensemble", default: str) -> None:
    """The paragraph of an ensemble."""
    note = " (the default)" if ensemble.name == default else ""
    shares = ensemble.fusion.shares(len(ensemble.members))
    weighted = [
        f"{share:.2f} {name}" if ensemble.fusion.weights else name
        for name, share in zip(ensemble.members, shares, strict=True)
    ]
    what = f"{ensemble.fusion.method} of {' and '.join(weighted)}"
    text = f"; {ensemble.description}" if ensemble.description else ""
    _show(f"{note}: {what}{text}", bold=ensemble.name)
    _show_measured(ensemble.measured)


def _show_measured(measured: "tuple[Measured, ...]") -> None:
    for row in measured:
        worst = "" if row.worst_db is None else f", worst clip {row.worst_db:+.2f} dB"
        _show(f"  {row.on}: {row.gain_db:+.2f} dB RGB-PSNR{worst}")


def _show(text: str, bold: str = "") -> None:
    """A line whose beginning may be bold; square brackets in names and descriptions are text."""
    from rich.text import Text

    results().print(Text(printable(bold), "bold", end="").append(printable(text), "not bold"))


@contextmanager
def _download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for one download on a terminal; a plain line at its start elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = messages()
    if not console.is_terminal:
        say(f"fetching {name}")
    columns = (
        plain_column("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
