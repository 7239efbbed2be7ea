"""How a network came about: the card in the header of its file, and what `vqe weights list` tells of it."""

import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqe_cli.training.schema import TrainConfig


@dataclass(frozen=True)
class Ended:
    """A phase that is done. steps and elapsed_s: of its training, over all starts; took_s: with its setup and
    its last measuring, as far as known."""

    config: TrainConfig
    steps: int
    elapsed_s: float
    took_s: float


def card_of(
    config: TrainConfig,
    steps: int,
    minutes: float,
    removed: int,
    gains: dict[str, float],
    figure: str = "gain_db",
    ended: Sequence[Ended] = (),
) -> dict[str, Any]:
    """What a file of weights says of its training.

    removed: duplicate frames (RMD). gains: by recipe what was measured last, `figure` names it. ended: the
    phases before.
    """
    return {
        "name": config.name,
        **_recipe(config),
        "duplicate_frames_removed": removed,
        "init": _file_name(config.network.init or config.network.grow_from),
        "flow": _file_name(config.network.flow),
        "iterations": steps,
        "minutes": round(minutes, 1),
        "phases_before": [
            {**_recipe(phase.config), "iterations": phase.steps, "minutes": round(phase.elapsed_s / 60, 1)}
            for phase in ended
        ],
        "commit": commit(),
        "footage": config.footage,
        f"{figure}_on_val_while_training": {name: round(gain, 3) for name, gain in gains.items()},
    }


def _file_name(path: str | None) -> str | None:
    """Without its folders, which mean nothing elsewhere."""
    return Path(path).name if path else None


def _recipe(config: TrainConfig) -> dict[str, Any]:
    """What a phase learns from, and how."""
    return {
        "phase": config.phase or None,
        "data": asdict(config.data),
        "schedule": asdict(config.schedule),
    }


def commit() -> str | None:
    """The commit of the code that trains, None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
