"""The one place that merges settings: flags over variables over the project's file over the user's over
defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from vqe_cli.documents import DocumentError, read_yaml
from vqe_cli.errors import SettingsError, did_you_mean, nearest, shortened
from vqe_cli.files import config_folder
from vqe_cli.runs.settings import Settings, checked, option_name, plain_name

FILE = "vqe.yaml"
PREFIX = "VQE_"
# What a configuration file may not set: it would differ from run to run.
ONLY_ON_THE_COMMAND_LINE = ("input", "output")
# Variables that are no settings, and how like a setting the name of an unknown one must be to be taken for a
# slip: the environment is shared with others, and not everything that starts with VQE_ is meant for us.
OTHER_VARIABLES = ("CONFIG", "DEBUG", "WEIGHTS_TOML", "LPIPS_WEIGHTS")
SLIP = 0.8


@dataclass(frozen=True)
class Sourced:
    """A value and where it came from: "--tta", "VQE_TTA", the path of a file, "default"."""

    value: Any
    origin: str


# What one source gives, by field of `Settings`.
Layer = Mapping[str, Sourced]


def merged(layers: Sequence[Layer]) -> dict[str, Sourced]:
    """Every field of `Settings` but input and output; of the layers, strongest first, the first that has it.

    Options of the encoder are merged key by key.
    """
    chosen = {}
    for entry in _known():
        found = [layer[entry.name] for layer in layers if entry.name in layer]
        if entry.name == "encoder_options" and found:
            chosen[entry.name] = _merged_options(found)
        else:
            chosen[entry.name] = found[0] if found else Sourced(_default(entry), "default")
    return chosen


def given_layer(given: Mapping[str, Any], variables: Sequence[str]) -> Layer:
    """What the command line gave, None for what it did not; variables: fields that a VQE_ variable gave."""
    return {
        name: Sourced(value, PREFIX + plain_name(name).upper() if name in variables else option_name(name))
        for name, value in given.items()
        if value is not None
    }


def file_layers(config: Path | None, environment: Mapping[str, str]) -> list[Layer]:
    """The project's file (`config`, or vqe.yaml in the working folder), then the user's, where they are.

    Raises VqeError for a file that cannot be read, has unknown keys or values that are not allowed; and for
    a variable of the environment whose name is nearly that of a setting.
    """
    refuse_slips(environment)
    project, user = Path(FILE), user_file()
    paths = [config] if config is not None else [project] if project.is_file() else []
    return [file_layer(path) for path in [*paths, *([user] if user.is_file() else [])]]


def user_file() -> Path:
    """vqe.yaml in the platform's folder for configuration: $XDG_CONFIG_HOME/vqe or ~/.config/vqe on Linux."""
    return config_folder() / FILE


def file_layer(path: Path) -> Layer:
    """The values of a file, each coming from there; raises VqeError as `read_config` does."""
    return {name: Sourced(value, str(path)) for name, value in read_config(path).items()}


def read_config(path: Path) -> dict[str, Any]:
    """The values of a YAML file, by field of `Settings`; keys are written as flags are, `tile-overlap: 32`.

    Paths in it are relative to the file's own folder. Raises VqeError for a file that cannot be read, has
    unknown keys or values that are not allowed.
    """
    try:
        table = read_yaml(path)
    except DocumentError as error:
        raise SettingsError(
            f"cannot read the configuration {path} ({error}).", "Correct, move or remove that file."
        ) from error
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise SettingsError(f"{path} is not a list of settings.", "Write lines like `model: fast`.")
    return dict(_value(path, str(key), value) for key, value in table.items())


def refuse_slips(environment: Mapping[str, str]) -> None:
    """Raises VqeError for a VQE_ variable that is unknown and nearly the name of a known one."""
    known = {PREFIX + name for name in OTHER_VARIABLES}
    known |= {PREFIX + plain_name(entry.name).upper() for entry in _known()}
    for name in sorted(environment.keys() - known):
        meant = nearest(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], SLIP)
        if name.startswith(PREFIX) and meant:
            raise SettingsError(
                f"the variable {name} is not a setting.", f"Did you mean {PREFIX}{meant}? Otherwise unset it."
            )


def as_yaml(chosen: Mapping[str, Sourced]) -> str:
    """The settings as a configuration file whose comments say where each value came from."""
    lines = {name: (_yaml_line(name, each.value), each.origin) for name, each in chosen.items()}
    width = max(len(line) for line, _ in lines.values())
    return "\n".join(f"{line:{width}}  # {origin}" for line, origin in lines.values())


def _known() -> list[Field[Any]]:
    return [entry for entry in fields(Settings) if entry.name not in ONLY_ON_THE_COMMAND_LINE]


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _merged_options(found: Sequence[Sourced]) -> Sourced:
    """Options of the encoder from several sources, strongest first."""
    options = {
        key: Sourced(value, each.origin) for each in reversed(found) for key, value in each.value.items()
    }
    origin = ", ".join(f"{key}: {each.origin}" for key, each in options.items())
    return Sourced({key: each.value for key, each in options.items()}, origin or found[0].origin)


def _value(path: Path, key: str, value: Any) -> tuple[str, Any]:
    """One checked line of a configuration file."""
    known = {plain_name(entry.name): entry.name for entry in _known()}
    name = known.get(key.replace("-", "_"), "")
    if not name:
        shown = [entry.replace("_", "-") for entry in known]
        raise SettingsError(
            f"{path} sets {shortened(key)}, which is not a setting.", did_you_mean(key, shown)
        )
    try:
        value = checked(name, value)
    except ValueError as error:
        raise SettingsError(f"{path}: {key} {error}.", "Correct that line.") from error
    if isinstance(value, Path):
        value = path.parent / value
    elif name == "weights":
        value = tuple(path.parent / item for item in value)
    return name, value


def _yaml_line(name: str, value: Any) -> str:
    """`tile-overlap: 32`; paths as text, options and lists on the line."""
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, tuple):
        value = [str(item) for item in value]
    elif isinstance(value, Mapping):
        value = dict(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=2**20, allow_unicode=True)
    return f"{plain_name(name).replace('_', '-')}: {text.removesuffix('...' + chr(10)).strip()}"
