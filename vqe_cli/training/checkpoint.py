"""What a run leaves behind: a resumable checkpoint (`last.pt`) and finished weights (`NAME.safetensors`).

All are written aside and renamed, so that a full disk or a kill leaves the file before intact.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from vqe_cli.documents import json_text
from vqe_cli.errors import VqeError, shortened
from vqe_cli.files import Aside
from vqe_cli.training import shards
from vqe_cli.training.joint import STAGE_ONE, Joint
from vqe_cli.training.schema import TrainConfig
from vqe_cli.weights.load import converted_tensors
from vqe_cli.weights.public_checkpoints import BUFFERS, unwrapped
from vqe_cli.weights.tensors import TensorError, parse_safetensors, parse_torch

LAST = "last.pt"


def save_state(path: Path, state: dict[str, Any], shard_mib: int | None = None) -> None:
    """Write a checkpoint, in parts below `shard_mib` MiB when asked.

    Raises VqeError when it cannot be written; the one before is intact then.
    """
    _replace(path, lambda aside: torch.save(state, aside), shard_mib)


def _replace(path: Path, write: Callable[[Path], object], shard_mib: int | None) -> None:
    """Let `write` make a file beside `path` and put it there when it is complete."""
    try:
        aside = Aside(path)
        try:
            write(aside.place)
            if shard_mib:
                shards.split(aside.place, path, shard_mib)
            else:
                aside.publish()
                shards.drop(path)
        finally:
            aside.discard()
    # torch raises errors of its own for a full disk.
    except Exception as error:
        raise VqeError(
            f"cannot write {path} ({error}).",
            "Free some room and use --resume; the version before is intact.",
        ) from error


def load_state(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Read a checkpoint of the same network.

    Raises VqeError when the file is missing, unreadable or of another architecture.
    """
    if not shards.exists(path):
        raise VqeError(
            f"there is no checkpoint {path} to resume from.", "Leave out --resume to start afresh."
        )
    state = _load(path)
    try:
        found = (state["config"]["network"]["arch"], state["config"]["network"]["config"])
    except (KeyError, TypeError) as error:
        raise VqeError(
            f"{path} is not a checkpoint of a training run.", "Start afresh without --resume."
        ) from error
    wanted = (config.network.arch, config.network.config)
    if wanted != found:
        raise VqeError(
            f"{path} holds {_named(*found)}, the config asks for {_named(*wanted)}.",
            "Use the config that the run was started with, or another --out.",
        )
    return state


def _named(arch: object, config: object) -> str:
    return f"{shortened(arch)} {shortened(config)}".replace("'", "", 2)


def _load(path: Path) -> Any:
    """A torch file, tensors and plain values only."""
    try:
        with shards.opened(path) as file:
            return parse_torch(file)
    except (TensorError, OSError) as error:
        raise VqeError(f"{path} is not a readable checkpoint ({error}).", "Name another file.") from error


def export(
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
            _export(first, network.stage_one, network.first_built, card, shard_mib)
        network = network.stage_two
    _export(path, network, (config.network.arch, config.network.config), card, shard_mib)


def _export(
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
    _replace(path, lambda aside: aside.write_bytes(content), shard_mib)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, as float32, of safetensors, of a run's checkpoint (its averaged weights) or a public
    .pth.

    Raises VqeError when the file is missing, unreadable, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        try:
            with shards.opened(path) as file:
                tree: Any = parse_safetensors(file)
        except (TensorError, OSError) as error:
            raise VqeError(
                f"{path} is not a readable safetensors file ({error}).", "Name a file of trained weights."
            ) from error
    else:
        tree = _load(path)
    if not isinstance(tree, dict):
        tree = {}
    tensors = unwrapped(tree.get("ema", tree))
    if not tensors:
        raise VqeError(f"{path} holds no weights.", "Name a file of trained weights.")
    tensors = converted_tensors(tensors, str(path))
    return {key: value.float() for key, value in tensors.items() if not BUFFERS.search(key)}


def load_fitting(network: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Copy every tensor whose name and shape fit; gives the names in the network that stay as they were."""
    own = network.state_dict()
    fitting = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted(key for key in own if key not in fitting)
