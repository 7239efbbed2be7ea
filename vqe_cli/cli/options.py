"""Options that commands share; none needs torch or PyAV to be defined, checked or completed."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from vqe_cli.runs.settings import CHOICES, MINIMA, Settings, checked, option_name, plain_name
from vqe_cli.video.encoder_names import OFFERED

# Defaults of the settings as help shows them; where 0 or None stands for a rule, the text says it.
SHOWN_DEFAULTS = {
    entry.name: str(entry.default)
    for entry in fields(Settings)
    if type(entry.default) in (str, int) and entry.default not in (0, "")
}

Debug = Annotated[
    bool, typer.Option("--debug", envvar="VQE_DEBUG", show_envvar=False, help="Show tracebacks of errors.")
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", show_default=False, help="Write a report there; - is stdout."),
]
ProgressKind = Annotated[
    str,
    typer.Option(
        "--progress",
        metavar="auto|json",
        callback=lambda value: _one_of(value, ("auto", "json")),
        autocompletion=lambda incomplete: [each for each in ("auto", "json") if each.startswith(incomplete)],
        show_default=False,
        help="How progress is shown on stderr: a bar or lines, or JSON lines (default: auto).",
    ),
]
Quiet = Annotated[
    bool | None,
    typer.Option("--quiet/--no-quiet", "-q", show_default=False, help="No progress and no summary."),
]


class WithDeinterlace(TyperCommand):
    """A command whose --deinterlace may stand without a value, which is "single" then."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The same with the value put in."""
        values = CHOICES["deinterlace"]
        given: list[str] = []
        for number, word in enumerate(args):
            given.append(word)
            is_bare = not args[number + 1 :] or args[number + 1] not in values
            if word == "--deinterlace" and is_bare and "--" not in given:
                given.append(str(values[0]))
        return super().parse_args(ctx, given)


def setting(name: str, text: str, group: str, *flags: str, metavar: str | None = None) -> Any:
    """The option of a field of `Settings`: its flag, VQE_ variable, check, completion and shown default.

    It gives None where neither flag nor variable was given, so that a configuration file may decide.
    """
    choices = [str(choice) for choice in CHOICES.get(name, ())]
    return typer.Option(
        *(flags or (option_name(name),)),
        envvar=f"VQE_{plain_name(name).upper()}",
        help=f"{text} (default: {SHOWN_DEFAULTS[name]})" if name in SHOWN_DEFAULTS else text,
        metavar=metavar or "|".join(choices) or ("N" if name in MINIMA else None),
        callback=None if name == "encoder_options" else _check(name),
        autocompletion=_starting_with(lambda: choices) if choices else COMPLETIONS.get(name),
        show_default=False,
        show_envvar=False,
        rich_help_panel=group,
    )


def pipeline_names() -> list[str]:
    """Names of pipelines and ensembles, for completion."""
    from vqe_cli.weights.ensembles import model_names

    return model_names()


def key_values(pairs: list[str] | None) -> dict[str, str] | None:
    """`["preset=slow"]` as a dict, None for nothing. Raises BadParameter for an item without `=`."""
    for pair in pairs or []:
        if not pair.partition("=")[0] or "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-e")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs or [])} or None


def _one_of(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise typer.BadParameter(f"is {' or '.join(known)}, not {value!r}")
    return value


def from_variables(ctx: typer.Context) -> list[str]:
    """Names of the parameters that a variable of the environment gave."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return [name for name, source in sources.items() if source is not None and source.name == "ENVIRONMENT"]


def _check(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is None or value == [] or value == ():
            return None
        try:
            return checked(name, value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return check


def _starting_with(known: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [name for name in known() if name.startswith(incomplete)]

    return complete


complete_pipelines = _starting_with(pipeline_names)
COMPLETIONS: dict[str, Callable[[str], list[str]]] = {
    "model": complete_pipelines,
    "device": _starting_with(lambda: ["auto", "cpu", "cuda", "cuda:0", "mps"]),
    "codec": _starting_with(lambda: list(OFFERED)),
}
