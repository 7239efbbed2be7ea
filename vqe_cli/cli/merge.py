"""The one place that merges settings: flags and environment over the configuration file over defaults."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from vqe_cli.errors import VqeError, did_you_mean
from vqe_cli.restore.settings import Settings, checked

# What a configuration file may not set: it would differ from run to run.
ONLY_ON_THE_COMMAND_LINE = ("input", "output")


def merged(given: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """Values by field of `Settings`: what flags and variables have `given`, else the file.

    Encoder options are merged key by key. Raises VqeError for a file that cannot be read, has unknown keys or
    values that are not allowed.
    """
    values = read_config(config) if config else {}
    chosen = {name: value for name, value in given.items() if value is not None}
    options = {**values.get("encoder_options", {}), **chosen.get("encoder_options", {})}
    return {**values, **chosen, **({"encoder_options": options} if options else {})}


def read_config(path: Path) -> dict[str, Any]:
    """The values of a YAML file, by field of `Settings`; keys are written as flags are, `tile-overlap: 32`.

    Paths in it are relative to the file's own folder. Raises VqeError as `merged` does.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise VqeError(
            f"cannot read the configuration {path} ({reason}).", "Mend it or leave out --config."
        ) from error
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise VqeError(f"{path} is not a list of settings.", "Write lines like `model: fast`.")
    return dict(_value(path, str(key), value) for key, value in table.items())


def _value(path: Path, key: str, value: Any) -> tuple[str, Any]:
    """One checked line of a configuration file."""
    known = [entry.name for entry in fields(Settings) if entry.name not in ONLY_ON_THE_COMMAND_LINE]
    name = key.replace("-", "_")
    if name not in known:
        shown = [entry.replace("_", "-") for entry in known]
        raise VqeError(f"{path} sets {key!r}, which is no setting.", did_you_mean(key, shown))
    try:
        value = checked(name, value)
    except ValueError as error:
        raise VqeError(f"{path}: {key} {error}.", "Correct that line.") from error
    if isinstance(value, Path):
        value = path.parent / value
    elif name == "weights":
        value = tuple(path.parent / item for item in value)
    return name, value
