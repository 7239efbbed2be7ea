"""What a run leaves behind: a resumable checkpoint (`last.pt`) and the finished weights (`NAME.safetensors`).

Both are written aside and renamed, so that a full disk or a kill leaves the file before intact.
"""

import hashlib
import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vqe_cli.errors import VqeError
from vqe_cli.training.config import TrainConfig


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside `path` and rename it."""
    aside = path.with_name(path.name + ".part")
    try:
        torch.save(state, aside)
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        raise VqeError(
            f"cannot write the checkpoint {path} ({error}).", "Free some room; the checkpoint before is intact."
        ) from error


def load_state(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Read a checkpoint of the same network.

    Raises VqeError when the file is missing, unreadable or of another architecture.
    """
    if not path.is_file():
        raise VqeError(f"there is no checkpoint {path} to resume from.", "Leave out --resume to start afresh.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise VqeError(f"{path} is not a readable checkpoint ({error}).", "Start afresh without --resume.") from error
    wanted = (config.network.arch, config.network.config)
    found = (state["config"]["network"]["arch"], state["config"]["network"]["config"])
    if wanted != found:
        raise VqeError(
            f"{path} holds {found[0]} {found[1]}, the config asks for {wanted[0]} {wanted[1]}.",
            "Use the config that the run was started with, or another --out.",
        )
    return state


def export(path: Path, network: nn.Module, config: TrainConfig, card: dict[str, Any]) -> None:
    """Write the network's weights in bfloat16 with its card: arch, config and how it was trained, as JSON in the header."""
    tensors = {
        key: value.to(torch.bfloat16).contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in network.state_dict().items()
    }
    header = {"arch": config.network.arch, "config": config.network.config, "card": card}
    aside = path.with_name(path.name + ".part")
    save_file(tensors, aside, metadata={"vqe": json.dumps(header)})
    os.replace(aside, path)


def card_of(config: TrainConfig, steps: int, minutes: float, gains: dict[str, float]) -> dict[str, Any]:
    """How a network came about, for its file's header and for `vqe weights list`."""
    return {
        "name": config.name,
        "data": asdict(config.data),
        "schedule": asdict(config.schedule),
        "init": config.network.init or config.network.grow_from,
        "iterations": steps,
        "minutes": round(minutes, 1),
        "commit": commit(),
        "footage": config.footage,
        "gain_db_on_val_while_training": {name: round(gain, 3) for name, gain in gains.items()},
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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file as float32."""
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except Exception as error:
        raise VqeError(f"{path} is not a readable safetensors file ({error}).", "Name a file of trained weights.") from error


def load_fitting(network: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Copy every tensor whose name and shape fit; gives the names in the network that stay as they were."""
    own = network.state_dict()
    fitting = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted(key for key in own if key not in fitting)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
