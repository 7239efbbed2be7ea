"""Files of `balanced` from before it was a network of its own.

It was a BasicVSR++ behind a single-frame network then, whose alignment and branches had stayed as they start:
all that they did was to carry pictures. `motion_fusion` does that without weights. Files of that kind are
read as its weights, bit for bit; the flow network is left out, because motion is found without one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor

from vqe_cli.documents import json_text, parse_json
from vqe_cli.errors import WeightsError
from vqe_cli.files import sha256_of, write_bytes
from vqe_cli.weights.tensors import metadata_of, read_tensor_file

T = TypeVar("T")
BEFORE, AFTER = "pqf_basicvsrpp", "motion_fusion"
RENAMED = {"trunk.": "spatial.", "reconstruction.": "residual.body.", "conv_last.": "residual.last."}
LEFT_OUT = ("spynet.", "deform_align.", "backbone.")
CHANNELS = 12  # that a branch carried: a mean, the frame's own picture, its neighbour's, each with its QP
DEFAULT_BLOCKS, DEFAULT_WIDTH = 5, 64


def is_earlier(arch: Any, config: Any) -> bool:
    """Whether a header is of such a file."""
    return arch == BEFORE and isinstance(config, Mapping) and "spatial" in config


def converted_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `networks.build("motion_fusion", ...)` takes in place of an earlier config."""
    blocks = config.get("reconstruction_blocks", DEFAULT_BLOCKS)
    found: dict[str, Any] = {"spatial": config["spatial"], "blocks": blocks}
    return {**found, "channels": config.get("reconstruction_channels", DEFAULT_WIDTH)} if blocks else found


def converted_tensors(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of `motion_fusion` in those of an earlier file `name`; others as they are.

    Raises VqeError when the alignment or the branches of the file were trained.
    """
    trained = trained_branches(tensors) if is_earlier_layout(tensors) else []
    if trained:
        raise WeightsError(
            f"{name} is of an earlier vqe, and its deformable alignment was trained further ({trained[0]}).",
            "Run it with vqe 0.1, or train it again with `arch: motion_fusion`.",
        )
    return renamed(tensors)


def is_earlier_layout(named: Mapping[str, Any]) -> bool:
    """Whether names of tensors are those of an earlier file."""
    return {"trunk.head.weight", "blend.weight"} <= named.keys()


def renamed(named: Mapping[str, T]) -> dict[str, T]:
    """What an earlier file has under the names of its tensors (these, or their shapes) under those of
    `motion_fusion`; of any other file as it is."""
    if not is_earlier_layout(named):
        return dict(named)
    found = {}
    for key, value in named.items():
        if not key.startswith(LEFT_OUT):
            old = next((prefix for prefix in RENAMED if key.startswith(prefix)), "")
            found[RENAMED.get(old, "") + key.removeprefix(old)] = value
    return found


def trained_branches(tensors: Mapping[str, Tensor]) -> list[str]:
    """The tensors of alignment and branches that do something else than to carry pictures.

    What counts are the deformable kernels and the first convolutions of the branches, which have one weight
    for each plane that is carried, and what must be zero: the last convolutions of the offsets, the ends of
    residual blocks, and biases.
    """
    wrong = []
    for index, branch in enumerate(("backward_1", "forward_1", "backward_2", "forward_2")):
        second = index // 2
        names = (f"deform_align.{branch}.weight", f"backbone.{branch}.main.0.weight")
        kernel = torch.zeros(CHANNELS, 2 * CHANNELS, 3, 3)
        enter = torch.zeros(CHANNELS, 5 + CHANNELS * (index + 1), 3, 3)
        for plane in range(4):
            mean, own, neighbour = plane, plane + 4, plane + 8
            kernel[mean, CHANNELS * second + mean, 1, 1] = 1
            kernel[neighbour, CHANNELS * second + own, 1, 1] = 2
            enter[mean, plane, 1, 1] = 0.5
            enter[own, plane, 1, 1] = 1
        pairs = zip(names, (kernel, enter), strict=True)
        wrong += [
            name
            for name, expected in pairs
            if name not in tensors or not torch.equal(tensors[name].float(), expected)
        ]
    silent = re.compile(r"deform_align\.\w+\.(bias|conv_offset\.6\..*)|backbone\..*(conv2\..*|main\.0\.bias)")
    return wrong + [key for key, value in tensors.items() if silent.fullmatch(key) and value.any()]


def convert_file(path: Path) -> bool:
    """Write an earlier file anew as weights of `motion_fusion`, in place; False for any other file.

    Its card is kept, and says what the file was. Raises VqeError as `converted_tensors` does.
    """
    header = parse_json(metadata_of(path).get("vqe", "{}"))
    if not is_earlier(header.get("arch", ""), header.get("config", {})):
        return False
    tensors = read_tensor_file(path)
    card = {**header["card"], "converted_from": {"arch": header["arch"], "sha256": sha256_of(path)}}
    header = {"arch": AFTER, "config": converted_config(header["config"]), "card": card}
    content = save(converted_tensors(tensors, path.name), metadata={"vqe": json_text(header)})
    write_bytes(path, content)
    return True


def convert_registry(registry: Path, folder: Path) -> list[Path]:
    """Convert every earlier file in `folder` that a weights.toml names, and put the new sha256 where the old
    one stood; gives the files that were converted. Raises VqeError as `converted_tensors` does."""
    text = registry.read_text(encoding="utf-8")
    converted = []
    for path in sorted(folder.glob("*.safetensors")):
        before = sha256_of(path)
        if before in text and convert_file(path):
            text = text.replace(before, sha256_of(path))
            converted.append(path)
    write_bytes(registry, text.encode())
    return converted
