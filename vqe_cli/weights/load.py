"""Files of weights to networks: safetensors whose header says, under "vqe", what they are the weights of.

Files of `balanced` from before it was a network of its own are read as well. It was a BasicVSR++ behind a
single-frame network then, whose alignment and branches had stayed as they start: all that they did was to
carry pictures. `motion_fusion` does that without weights, and the tensors that it has are taken bit for bit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn

from vqe_cli import networks
from vqe_cli.documents import MIB, DocumentError, Limits, json_text, parse_json, table
from vqe_cli.errors import VqeError, WeightsError, shortened
from vqe_cli.files import sha256_of, write_bytes
from vqe_cli.networks.bounds import TooLarge
from vqe_cli.weights.registry import Pipeline, StageSpec
from vqe_cli.weights.tensors import (
    TensorError,
    metadata_of,
    parse_safetensors,
    read_tensor_file,
    reason,
    shapes_of,
)

IMPORT_REMEDY = "Name a file that vqe wrote; a public checkpoint becomes one by `vqe weights import`."
HEADER = {"arch": str, "config": dict, "card": dict}
HEADER_LIMITS = Limits(bytes=MIB)
T = TypeVar("T")
# Files of an earlier `balanced`.
BEFORE, AFTER = "pqf_basicvsrpp", "motion_fusion"
RENAMED = {"trunk.": "spatial.", "reconstruction.": "residual.body.", "conv_last.": "residual.last."}
LEFT_OUT = ("spynet.", "deform_align.", "backbone.")
CHANNELS = 12  # that a branch carried: a mean, the frame's own picture, its neighbour's, each with its QP
DEFAULT_BLOCKS, DEFAULT_WIDTH = 5, 64


@dataclass(frozen=True)
class Header:
    """What a file of weights says of itself.

    arch, config: what `networks.build` takes. card: how it was trained, for people.
    """

    arch: str
    config: dict[str, Any]
    card: dict[str, Any]


def read_header(path: Path) -> Header:
    """The header of a file of weights, without reading the tensors.

    Raises VqeError when the file is missing, is not a safetensors file, or has no header of ours.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file of weights {path}.", "Check the path.")
    try:
        text = metadata_of(path).get("vqe")
        if text is None:
            raise WeightsError(f"{path} does not say which network its weights belong to.", IMPORT_REMEDY)
        header = table(parse_json(text, HEADER_LIMITS), HEADER, ("arch", "config"), "its header")
    except (TensorError, OSError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}).", IMPORT_REMEDY) from error
    except DocumentError as error:
        raise WeightsError(
            f"{path} does not say which network its weights belong to: {error}.", IMPORT_REMEDY
        ) from error
    arch, config = header["arch"], header["config"]
    if is_earlier(arch, config):
        arch, config = AFTER, converted_config(config)
    return Header(arch, config, header.get("card", {}))


def outline(path: Path) -> nn.Module:
    """The network of a file of weights on the meta device, without memory: what its header asks for is held
    against the tensors that are in the file.

    Raises VqeError when the file is missing or is none of ours, for a network that cannot be built, and when
    the tensors are not exactly those of the network.
    """
    header = read_header(path)
    try:
        shapes = renamed(shapes_of(path))
        numbers = sum(map(prod, shapes.values()))
        network = networks.outline(header.arch, header.config, len(shapes), numbers)
    except (TensorError, OSError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}).", IMPORT_REMEDY) from error
    except TooLarge as error:
        raise _unfitting(path, header, "the network has more weights than are in the file") from error
    except ValueError as error:
        raise WeightsError(
            f"{path} is for a network that this vqe cannot build: {error}.",
            "Update vqe, or name another file.",
        ) from error
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wrong = sorted(key for key in own.keys() | shapes.keys() if own.get(key) != shapes.get(key))
    if wrong:
        raise _unfitting(
            path,
            header,
            f"{len(wrong)} tensors are missing, unknown or of another shape, the first is "
            f"{shortened(wrong[0])}",
        )
    return network


def _unfitting(path: Path, header: Header, why: str) -> VqeError:
    shown = f"{shortened(header.arch)[1:-1]} {shortened(header.config)}"
    return WeightsError(f"{path} does not hold the weights of {shown}: {why}.", IMPORT_REMEDY)


def build_network(stage: StageSpec) -> nn.Module:
    """The network of a stage as it is built, without its weights: enough to know what it takes.

    Raises VqeError as `load_network` does.
    """
    return _built(stage.path())


def _built(path: Path) -> nn.Module:
    outline(path)
    header = read_header(path)
    return networks.build(header.arch, header.config).eval().requires_grad_(False)


def load_network(stage: StageSpec) -> nn.Module:
    """The network of a stage with its weights, float32, on the CPU, ready to run (eval, no gradients).

    Raises VqeError when the file is missing, has another sha256 than weights.toml says, or does not fit its
    network.
    """
    path = stage.path()
    network = _built(path)
    try:
        with path.open("rb") as file:
            tensors = converted_tensors(parse_safetensors(file), str(path))
        network.load_state_dict(tensors)
    except (TensorError, OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"the weights in {path} cannot be read ({reason(error)}).", IMPORT_REMEDY
        ) from error
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
        raise WeightsError(
            f"the weights {pipeline.name} enlarge by {scale}, --scale asks for {pipeline.scale}.",
            f"Use --scale {scale}, or other weights.",
        )
    return networks


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
