"""Reading a training config: a YAML file to a checked `TrainConfig`, every problem reported together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vqe_cli.documents import DocumentError, read_yaml
from vqe_cli.errors import SettingsError, shortened
from vqe_cli.training.checks import contradictions, missing_files
from vqe_cli.training.parsing import apply_overrides, merged, parse
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
