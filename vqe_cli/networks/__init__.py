"""Networks as pure PyTorch: tensors in, tensors out. `build` has the one table of architectures, `outline`
builds without memory.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from vqe_cli.errors import did_you_mean
from vqe_cli.networks.basicvsrpp import BasicVSRPlusPlus, PQFBasicVSRPlusPlus
from vqe_cli.networks.bounds import at_most, check_settings
from vqe_cli.networks.crds import CRDS, LatentAutoEncoder
from vqe_cli.networks.flow import SpyNet
from vqe_cli.networks.gate import GateNet
from vqe_cli.networks.motion_fusion import MotionFusion
from vqe_cli.networks.qecnn import QECNN
from vqe_cli.networks.swinir import SwinIR

# The reference's arguments that are accepted and change nothing here: files and memory are the caller's
# business.
PUBLIC_ARGUMENTS = frozenset(
    {"pretrained", "spynet_pretrained", "cpu_cache_length", "img_size", "patch_size"}
)

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "spynet": SpyNet,
    "qecnn": QECNN,
    "motion_fusion": MotionFusion,
    "basicvsrpp": BasicVSRPlusPlus,
    "basicvsr_plusplus": BasicVSRPlusPlus,  # the name in mmagic
    "pqf_basicvsrpp": PQFBasicVSRPlusPlus,
    "crds": CRDS,
    "latent_autoencoder": LatentAutoEncoder,
    "swinir": SwinIR,
    "gate": GateNet,
}

MOST_TENSORS = 3000  # of any network; the largest public ones have a thousand
MILLION = 1_000_000


def build(arch: str, config: Mapping[str, Any]) -> nn.Module:
    """A freshly initialised network; `config` holds its constructor's arguments.

    Raises ValueError for an unknown name or key, with the nearest known one, and for a setting of another
    kind or out of all bounds.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"no architecture {arch[:60]!r}{_hint(arch, ARCHITECTURES)}")
    network = ARCHITECTURES[arch]
    known = set(inspect.signature(network).parameters)
    for key in config:
        if key not in known | PUBLIC_ARGUMENTS:
            raise ValueError(f"{arch} has no setting {str(key)[:60]!r}{_hint(str(key), known)}")
    check_settings(network, config)
    return network(**{key: value for key, value in config.items() if key in known})


def outline(arch: str, config: Mapping[str, Any], tensors: int, numbers: int) -> nn.Module:
    """The network on the meta device: names and shapes of its weights, no memory.

    tensors, numbers: how many parameters there are for it, and numbers in them. A network that needs a few
    more is given nevertheless, so that what is missing can be named. Raises ValueError as `build` does, and
    for settings that do not go together; `bounds.TooLarge` for a network that needs far more.
    """
    try:
        with torch.device("meta"), at_most(min(2 * tensors + 16, MOST_TENSORS), 2 * numbers + MILLION):
            return build(arch, config)
    except (TypeError, RuntimeError, OverflowError, ArithmeticError, LookupError) as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"its settings do not go together ({said[0][:120]})") from error


def _hint(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the known name most like `name`, or all of them."""
    remedy = did_you_mean(name, known)
    return f"; {remedy[0].lower()}{remedy[1:].rstrip('.')}"
