"""Files of weights to networks: safetensors whose header says, under "vqe", what they are the weights of."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

from vqe_cli import networks
from vqe_cli.documents import MIB, DocumentError, Limits, parse_json, table
from vqe_cli.errors import VqeError, WeightsError, shortened
from vqe_cli.networks.bounds import TooLarge
from vqe_cli.weights.conversion import AFTER, converted_config, converted_tensors, is_earlier, renamed
from vqe_cli.weights.registry import Pipeline, StageSpec
from vqe_cli.weights.tensors import TensorError, metadata_of, parse_safetensors, reason, shapes_of

IMPORT_REMEDY = "Name a file that vqe wrote; a public checkpoint becomes one by `vqe weights import`."
HEADER = {"arch": str, "config": dict, "card": dict}
HEADER_LIMITS = Limits(bytes=MIB)


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
    path = stage.path()
    outline(path)
    header = read_header(path)
    return networks.build(header.arch, header.config).eval().requires_grad_(False)


def load_network(stage: StageSpec) -> nn.Module:
    """The network of a stage with its weights, float32, on the CPU, ready to run (eval, no gradients).

    Raises VqeError when the file is missing, has another sha256 than weights.toml says, or does not fit its
    network.
    """
    path = stage.path()
    network = build_network(stage)
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
