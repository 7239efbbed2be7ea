"""Files of weights to networks: safetensors whose header says, under "vqe", what they are the weights of."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

import models
from vqe_cli.errors import VqeError
from vqe_cli.files import unicode_name
from vqe_cli.weights.registry import Pipeline, StageSpec

IMPORT_REMEDY = "Name a file that vqe wrote; a public checkpoint becomes one by `vqe weights import`."


@dataclass(frozen=True)
class Header:
    """What a file of weights says of itself.

    arch, config: what `models.build` takes. card: how it was trained, for people.
    """

    arch: str
    config: dict[str, Any]
    card: dict[str, Any]


def read_header(path: Path) -> Header:
    """The header of a file of weights, without reading the tensors.

    Raises VqeError when the file is missing, is no safetensors file, or has no header of ours.
    """
    if not path.is_file():
        raise VqeError(f"there is no file of weights {path}.", "Check the path.")
    try:
        with unicode_name(path) as name, safe_open(name, framework="numpy") as file:
            told = json.loads((file.metadata() or {}).get("vqe", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise VqeError(f"{path} is not a safetensors file ({error}).", IMPORT_REMEDY) from error
    if not isinstance(told, dict) or not {"arch", "config"} <= told.keys():
        raise VqeError(f"{path} does not say which network its weights belong to.", IMPORT_REMEDY)
    return Header(told["arch"], told["config"], told.get("card", {}))


def build_network(stage: StageSpec) -> nn.Module:
    """The network of a stage as it is built, without its weights: enough to know what it takes.

    Raises VqeError as `load_network` does, but for weights that do not fit.
    """
    path = stage.path()
    header = read_header(path)
    try:
        return models.build(header.arch, header.config).eval().requires_grad_(False)
    except (TypeError, ValueError) as error:
        raise VqeError(
            f"{path} is for a network that this vqe cannot build: {error}.", "Update vqe."
        ) from error


def load_network(stage: StageSpec) -> nn.Module:
    """The network of a stage with its weights, float32, on the CPU, ready to run (eval, no gradients).

    Raises VqeError when the file is missing, has another sha256 than weights.toml says, or does not fit its
    network.
    """
    path = stage.path()
    header = read_header(path)
    network = build_network(stage)
    with unicode_name(path) as name, safe_open(name, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    own = network.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys())
    wrong += sorted(key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape)
    if wrong:
        raise VqeError(
            f"{path} does not hold the weights of {header.arch} {header.config}: {len(wrong)} tensors are "
            f"missing, unknown or of another shape, the first is {wrong[0]!r}.",
            IMPORT_REMEDY,
        )
    network.load_state_dict(tensors)
    return network


def load_stages(pipeline: Pipeline, empty: bool = False) -> list[nn.Module]:
    """The networks of all stages of a pipeline; empty: without their weights.

    Raises VqeError as `load_network` does, and when together they do not enlarge by the pipeline's scale.
    """
    networks = [build_network(stage) if empty else load_network(stage) for stage in pipeline.stages]
    scale = 1
    for network in networks:
        scale *= int(getattr(network, "scale", 1))
    if scale != pipeline.scale:
        raise VqeError(
            f"the weights {pipeline.name} enlarge by {scale}, --scale asks for {pipeline.scale}.",
            f"Use --scale {scale}, or other weights.",
        )
    return networks
