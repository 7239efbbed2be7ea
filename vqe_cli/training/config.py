"""Reading a training config: a YAML file to a checked `TrainConfig`, every problem reported together."""

import dataclasses
import types
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from vqe_cli.documents import DocumentError, parse_yaml, read_yaml
from vqe_cli.errors import SettingsError, nearest, shortened
from vqe_cli.training.checks import contradictions, missing_files
from vqe_cli.training.schema import TrainConfig
from vqe_cli.weights.registry import bundled

MOST_PHASES = 64
MOST_LISTED = 20  # problems in one message


def load(
    path: Path,
    overrides: list[str] = [],  # noqa: B006 (never changed)
    stage: str | None = None,
    need_files: bool = True,
) -> TrainConfig:
    """Read a YAML file and `section.key=value` overrides, which hold for every phase.

    path: a file, or the name of a config that comes with vqe ("fast", "paper/crds"; see configs/).
    stage: "flow", "1" or "2", what the config must be made for (None: any). need_files: whether the weights
    that it names must be there. Raises VqeError with every problem in one message: unreadable file, unknown
    keys, wrong types, settings that contradict each other, networks that cannot be built.
    """
    path = located(path)
    try:
        tree = read_yaml(path, aliases=True)
    except DocumentError as error:
        raise SettingsError(
            f"cannot read the training config {path}: {error}.", "Correct the file; configs/ has examples."
        ) from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} holds no settings.", "configs/ has examples.")
    config, problems = _with_phases(with_bundled_weights(tree), overrides)
    found: dict[str, list[str]] = {}
    for phase in config.all_phases() if config else ():
        for problem in contradictions(phase, stage) + (missing_files(phase) if need_files else []):
            found.setdefault(problem, []).append(phase.phase)
    for problem, phases in found.items():
        everywhere = config is not None and len(phases) == len(config.all_phases())
        problems.append(problem if everywhere else f"phase {', '.join(phases)}: {problem}")
    if problems or config is None:
        raise SettingsError(f"{path}: {_listed(problems)}.", "Correct these and run again.")
    return config


def located(path: Path) -> Path:
    """The file itself, or the bundled config of that name."""
    named = bundled("configs") / f"{path}.yaml"
    return named if not path.exists() and not path.suffix and named.is_file() else path


def with_bundled_weights(tree: dict[str, Any]) -> dict[str, Any]:
    """A config's tree whose weights "models/NAME" are the bundled ones, unless there are such in the working
    folder."""

    def found(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: found(item) for key, item in value.items()}
        if isinstance(value, list):
            return [found(item) for item in value]
        if isinstance(value, str) and value.startswith("models/") and not Path(value).exists():
            place = bundled(value)
            return str(place) if place.is_file() else value
        return value

    changed: dict[str, Any] = found(tree)
    return changed


def _listed(problems: list[str]) -> str:
    """The problems, each once, as far as anybody reads them."""
    different = list(dict.fromkeys(problems))
    more = len(different) - MOST_LISTED
    return "; ".join(different[:MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")


def _with_phases(tree: dict[str, Any], overrides: list[str]) -> tuple[TrainConfig | None, list[str]]:
    """The config of a whole file and what is wrong with it.

    A phase is the file's other settings with its changes laid over, and the overrides over those.
    """
    problems: list[str] = []
    base = {key: value for key, value in tree.items() if key != "phases"}
    apply_overrides(base, overrides, problems)
    config = parse(TrainConfig, base, "", problems)
    changes = tree.get("phases") or []
    if not isinstance(changes, list) or not all(isinstance(change, dict) for change in changes):
        problems.append("phases must be a list of mappings")
        return None, problems
    if len(changes) > MOST_PHASES:
        problems.append(f"phases are {len(changes)}, more than {MOST_PHASES}")
        return None, problems
    if not all(isinstance(change.get("phase", ""), str | int | float) for change in changes):
        problems.append("phase must be text in every one of phases")
        return None, problems
    phases = []
    for number, change in enumerate(changes, 1):
        whole = {**merged(base, change), "phase": str(change.get("phase", f"phase{number}"))}
        apply_overrides(whole, overrides, [])
        wrong: list[str] = []
        phases.append(parse(TrainConfig, whole, "", wrong))
        problems += [
            f"phase {whole['phase'][:60]}: {problem}" for problem in wrong if problem not in problems
        ]
    names = [phase.phase for phase in phases if phase]
    problems += [
        f"two phases are named {shortened(name)}" for name in sorted(set(names)) if names.count(name) > 1
    ]
    return replace(config, phases=tuple(phase for phase in phases if phase)) if config else None, problems


LONGEST_SHOWN = 60  # characters of an option or a key in a message


def apply_overrides(tree: dict[str, Any], overrides: list[str], problems: list[str]) -> None:
    """Put each `section.key=value` (value in YAML) into the tree; what cannot be goes to `problems`."""
    for override in overrides:
        shown = override if len(override) <= LONGEST_SHOWN else f"{override[:LONGEST_SHOWN]}…"
        key, sign, text = override.partition("=")
        if not sign:
            problems.append(f"--set {shown} has no '='")
            continue
        try:
            value = parse_yaml(text)
        except DocumentError as error:
            problems.append(f"--set {shown}: {shortened(text)} is not a value ({error})")
            continue
        _put(tree, key.strip().split("."), value, shown, problems)


def _put(tree: dict[str, Any], path: list[str], value: Any, override: str, problems: list[str]) -> None:
    """Set one leaf, copying the sections on the way, which phases share."""
    node = tree
    for section in path[:-1]:
        below = node.get(section, {})
        if not isinstance(below, dict):
            problems.append(f"--set {override}: {section} is not a section")
            return
        node[section] = dict(below)
        node = node[section]
    node[path[-1]] = value


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the sections of `changes` laid over it.

    Keys of `network.config` are merged too, unless the architecture changes; all other values are replaced.
    """
    result = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        if not (isinstance(old, dict) and isinstance(value, dict)):
            result[key] = value
            continue
        result[key] = {**old, **value}
        if key == "network" and "arch" not in value and isinstance(value.get("config"), dict):
            result[key]["config"] = {**(old.get("config") or {}), **value["config"]}
    return result


def parse(cls: type, tree: Any, where: str, problems: list[str]) -> Any:
    """Build dataclass `cls` from a mapping.

    Problems are appended; what is wrong counts as left out, so that the rest can be judged too. None where a
    required value is wrong or missing.
    """
    if not isinstance(tree, dict):
        problems.append(f"{where.rstrip('.') or 'the file'} must be a mapping")
        return None
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name, before = f"{where}{key}"[:LONGEST_SHOWN], len(problems)
        if key not in known:
            near = nearest(str(key), known, 0.6)
            problems.append(f"unknown key {name}" + (f" (did you mean {near}?)" if near else ""))
        elif dataclasses.is_dataclass(hints[key]):
            values[key] = parse(hints[key], value, f"{name}.", problems) or hints[key]()  # type: ignore[arg-type]
        else:
            converted = convert(hints[key], value, name, problems)
            if len(problems) == before:
                values[key] = converted
    missing = [name for name, f in known.items() if name not in values and _required(f)]
    problems += [f"{where}{name} is missing" for name in missing if name not in tree]
    return None if missing else cls(**values)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def convert(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    """Value as the annotated type; YAML reads 1e-4 as text, which counts as a number here."""
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    origin = get_origin(kind) or kind
    if origin is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(
            convert(get_args(kind)[0], item, f"{name}[{i}]", problems) for i, item in enumerate(values)
        )
    if origin is dict and isinstance(value, dict):
        of = get_args(kind)[1]
        return {
            str(k): v if of is Any else convert(of, v, f"{name}.{k}"[:LONGEST_SHOWN], problems)
            for k, v in value.items()
        }
    try:
        if origin is bool and isinstance(value, bool):
            return value
        if origin is float and not isinstance(value, bool):
            return float(value)
        if origin is int and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        if origin is str and isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    except (TypeError, ValueError, OverflowError):
        pass
    problems.append(f"{name} must be {KIND_NAMES.get(origin, origin)}, not {shortened(value)}")
    return None


KIND_NAMES: dict[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "text",
    dict: "a mapping",
}
