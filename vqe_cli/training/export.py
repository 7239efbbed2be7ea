"""Finished weights: `NAME.safetensors` with its card, which says how the network came about."""

import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from vqe_cli.documents import json_text
from vqe_cli.training.checkpoint import replace_file
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.start import STAGE_ONE, Joint


@dataclass(frozen=True)
class TrainedPhase:
    """How a phase of a run was trained."""

    config: TrainConfig
    steps: int = 0
    elapsed_s: float = 0.0
    """Seconds of training, over all starts."""
    took_s: float = 0.0
    """Seconds of training, setup and last validation, as far as known."""


def card_of(
    phases: Sequence[TrainedPhase], removed: int, gains: dict[str, float], figure: str = "gain_db"
) -> dict[str, Any]:
    """What a file of weights says of its training.

    phases: of the run, in order; the last one made these weights. removed: duplicate frames (RMD). gains: by
    recipe what was measured last; `figure` names it.
    """
    *before, last = phases
    config = last.config
    return {
        "name": config.name,
        **_recipe(config),
        "duplicate_frames_removed": removed,
        "init": _file_name(config.network.init or config.network.grow_from),
        "flow": _file_name(config.network.flow),
        **_effort(last),
        "phases_before": [{**_recipe(phase.config), **_effort(phase)} for phase in before],
        "commit": commit(),
        "footage": config.footage,
        f"{figure}_on_val_while_training": {name: round(gain, 3) for name, gain in gains.items()},
    }


def _effort(phase: TrainedPhase) -> dict[str, Any]:
    """How long a phase was trained."""
    return {"iterations": phase.steps, "minutes": round(phase.elapsed_s / 60, 1)}


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


def write_weights(
    path: Path, network: nn.Module, config: TrainConfig, card: dict[str, Any], shard_mib: int | None = None
) -> None:
    """Write the network's weights in bfloat16 with its card: arch, config and how it was trained, as JSON in
    the header.

    Of jointly trained stages the first goes beside `path`, as `NAME-stage1.safetensors`, unless all of it
    was frozen.
    """
    if isinstance(network, Joint):
        if STAGE_ONE not in config.network.frozen:
            first = path.with_name(f"{path.stem}-stage1{path.suffix}")
            _write(first, network.stage_one, network.first_built, card, shard_mib)
        network = network.stage_two
    _write(path, network, (config.network.arch, config.network.config), card, shard_mib)


def _write(
    path: Path,
    network: nn.Module,
    built: tuple[str, dict[str, Any]],
    card: dict[str, Any],
    shard_mib: int | None,
) -> None:
    tensors = {
        key: value.to(torch.bfloat16).contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in network.state_dict().items()
    }
    header = json_text({"arch": built[0], "config": built[1], "card": card})
    content = save(tensors, metadata={"vqe": header})
    replace_file(path, lambda aside: aside.write_bytes(content), shard_mib)
