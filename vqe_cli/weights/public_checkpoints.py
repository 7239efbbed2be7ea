"""Import of public checkpoints: BasicVSR++ and SPyNet of mmediting and mmagic, the official SwinIR.

A checkpoint is read without executing what is in it, its network is found from its keys and shapes, every key
and shape is held against that network, and the weights are written as a file that names its network.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vqe_cli import networks
from vqe_cli.documents import json_text
from vqe_cli.errors import WeightsError, shortened
from vqe_cli.files import Aside, sha256_of
from vqe_cli.weights.tensors import TensorError, read_tensor_file, reason

KNOWN = "vqe imports BasicVSR++ and SPyNet of mmediting or mmagic, and the official SwinIR."
# Where training programs keep the weights, the averaged ones first (BasicSR and KAIR; mmediting and mmagic).
WRAPPERS = ("params_ema", "params", "state_dict")
PREFIXES = ("module.", "generator_ema.", "generator.")
# What a reference's state dict holds beside weights; ours are made anew by the network.
BUFFERS = re.compile(r"(^|\.)(mean|std|attn_mask|relative_position_index|step_counter)$")
# Settings that leave no trace in the shapes: all public BasicVSR++ has this one.
MAX_RESIDUE_MAGNITUDE = 10
MOST_PARTS = 256  # that lie in a row: blocks, groups, levels


@dataclass(frozen=True)
class PublicCheckpoint:
    """A network that was found in a public checkpoint.

    arch, config: what `networks.build` takes. weights: float32, under the keys of that network. source: name
    and sha256 of the file.
    """

    arch: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    source: dict[str, str]


def import_checkpoint(
    source: Path, target: Path, arch: str | None = None, overwrite: bool = False
) -> PublicCheckpoint:
    """Read a public checkpoint (.pth or .safetensors) and write it as `target`, a file of weights of ours.

    arch: the name to give the network where two have the same weights (pqf_basicvsrpp for basicvsrpp).
    Raises VqeError when the source cannot be read or is of an unknown network, a key or a shape does not fit,
    or the target exists or cannot be written.
    """
    if target.exists() and not overwrite:
        raise WeightsError(f"{target} exists already.", "Choose another name, or say --overwrite.")
    checkpoint = read_checkpoint(source, arch)
    header = {"arch": checkpoint.arch, "config": checkpoint.config, "card": {"imported": checkpoint.source}}
    try:
        with Aside(target, overwrite) as place:
            save_file(checkpoint.weights, place, metadata={"vqe": json_text(header)})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {target} ({error}).", "Make room or rights there.") from error
    return checkpoint


def read_checkpoint(path: Path, arch: str | None = None) -> PublicCheckpoint:
    """The network in a public checkpoint, every key and shape compared with what `networks.build` makes.

    Raises VqeError as `import_checkpoint` does.
    """
    state = {key: tensor for key, tensor in read_weights(path).items() if not BUFFERS.search(key)}
    try:
        found = recognise(state)
    except KeyError as error:
        lacking = shortened(error.args[0])
        raise WeightsError(f"{path} lacks {lacking} of the network that it seems to be.", KNOWN) from error
    except (IndexError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path} is of no network that vqe knows ({reason(error)}).", KNOWN) from error
    if found is None:
        raise WeightsError(f"{path} is of no network that vqe knows.", KNOWN)
    name, config = found
    if arch not in (None, name):
        if (name, arch) != ("basicvsrpp", "pqf_basicvsrpp"):
            raise WeightsError(f"{path} is {name}, not {arch}.", "Leave the architecture to vqe.")
        name = "pqf_basicvsrpp"
    check(path, name, config, state)
    weights = {key: tensor.float().contiguous() for key, tensor in state.items()}
    digest = sha256_of(path)
    return PublicCheckpoint(name, config, weights, {"file": path.name, "sha256": digest})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their keys, out of what wraps them and without what precedes them.

    Nothing but tensors and plain values is unpickled. Raises VqeError when that does not work.
    """
    if not path.is_file():
        raise WeightsError(f"there is no checkpoint {path}.", "Check the path.")
    try:
        stored = read_tensor_file(path)
    except TensorError as error:
        remedy = "Fetch it again, or save its state dict alone, with the program that made it."
        raise WeightsError(f"{path} is not a readable checkpoint ({error}).", remedy) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}).", "Check it.") from error
    if not isinstance(stored, Mapping):
        raise WeightsError(f"{path} holds no weights.", KNOWN)
    return unwrapped(stored)


def unwrapped(stored: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of what a training program stored, out of what wraps them and without what precedes their
    keys.
    """
    for wrapper in WRAPPERS:
        if isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    tensors = {str(key): value for key, value in stored.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        tensors = inside or tensors
    return tensors


def recognise(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    """Architecture and settings from keys and shapes; None for an unknown network.

    Raises KeyError when keys are missing without which a setting cannot be found.
    """
    if "deform_align.backward_1.weight" in state:
        return "basicvsrpp", basicvsrpp_config(state)
    if "layers.0.residual_group.blocks.0.attn.relative_position_bias_table" in state:
        return "swinir", swinir_config(state)
    if "basic_module.0.basic_module.0.conv.weight" in state:
        return "spynet", {"levels": count(state, r"basic_module\.(\d+)\.")}
    return None


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the highest number that `pattern` finds at the start of a key; 0 where it finds none.

    Raises ValueError for more than any network has.
    """
    found = (re.match(pattern, key) for key in state)
    most = max((int(match[1]) for match in found if match), default=-1) + 1
    if most > MOST_PARTS:
        raise ValueError(f"a part has the number {shortened(most - 1)}")
    return most


def basicvsrpp_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings of a public BasicVSR++. Raises KeyError as `recognise` does."""
    taps = 9
    return {
        "mid_channels": state["deform_align.backward_1.weight"].shape[0],
        "num_blocks": count(state, r"backbone\.backward_1\.main\.2\.(\d+)\."),
        "max_residue_magnitude": MAX_RESIDUE_MAGNITUDE,
        "is_low_res_input": "feat_extract.main.0.weight" in state,
        "reconstruction_blocks": count(state, r"reconstruction\.main\.2\.(\d+)\."),
        "deform_groups": state["deform_align.backward_1.conv_offset.6.weight"].shape[0] // (3 * taps),
    }


def swinir_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings of an official SwinIR. Raises KeyError as `recognise` does.

    The range of the values leaves no trace; of the official networks those for JPEG, which alone have windows
    of 7, count to 255.
    """
    groups = count(state, r"layers\.(\d+)\.")
    first = "layers.{}.residual_group.blocks.0."
    tables = [state[first.format(group) + "attn.relative_position_bias_table"] for group in range(groups)]
    window = (isqrt(tables[0].shape[0]) + 1) // 2
    channels, in_chans = state["conv_first.weight"].shape[:2]
    upsampler, upscale = swinir_upsampler(state, in_chans)
    return {
        "in_chans": in_chans,
        "embed_dim": channels,
        "depths": [
            count(state, rf"layers\.{group}\.residual_group\.blocks\.(\d+)\.") for group in range(groups)
        ],
        "num_heads": [table.shape[1] for table in tables],
        "window_size": window,
        "mlp_ratio": state[first.format(0) + "mlp.fc1.weight"].shape[0] / channels,
        "upscale": upscale,
        "img_range": 255.0 if window == 7 else 1.0,
        "upsampler": upsampler,
        "resi_connection": "1conv" if "conv_after_body.weight" in state else "3conv",
    }


def swinir_upsampler(state: Mapping[str, Tensor], out_chans: int) -> tuple[str, int]:
    """The kind of upsampler and its factor. Raises KeyError as `recognise` does."""
    if "conv_up1.weight" in state:
        return "nearest+conv", 4
    if "conv_before_upsample.0.weight" in state:
        steps = [tensor for key, tensor in state.items() if re.fullmatch(r"upsample\.\d+\.weight", key)]
        factor = 1
        for step in steps:
            factor *= isqrt(step.shape[0] // step.shape[1])
        return "pixelshuffle", factor
    if "upsample.0.weight" in state:
        return "pixelshuffledirect", isqrt(state["upsample.0.weight"].shape[0] // out_chans)
    return "", 1


def check(path: Path, arch: str, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Raise VqeError unless `state` has every weight of the network, each of its shape, and no others."""
    numbers = sum(tensor.numel() for tensor in state.values())
    try:
        expected = networks.outline(arch, config, len(state), numbers).state_dict()
    except ValueError as error:
        raise WeightsError(f"{path} is of a {arch} that cannot be built: {error}.", KNOWN) from error
    problems = [f"{key} is missing" for key in sorted(expected.keys() - state.keys())]
    problems += [f"{key} is unknown" for key in sorted(state.keys() - expected.keys())]
    problems += [
        f"{key} is {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    if problems:
        rest = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise WeightsError(
            f"{path} does not fit {arch} with {shortened(dict(config))}: {problems[0][:200]}{rest}.", KNOWN
        )
