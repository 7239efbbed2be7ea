"""Networks as pure PyTorch: tensors in, tensors out. `build` has the one table of architectures."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from models.basicvsrpp import basicvsrpp, pqf_basicvsrpp
from models.crds import CRDS, LatentAutoEncoder
from models.flow import SpyNet
from models.gate import GateNet
from models.qecnn import QECNN
from models.swinir import SwinIR

# The reference's arguments that are accepted and change nothing here: files and memory are the caller's
# business.
PUBLIC_ARGUMENTS = frozenset(
    {"pretrained", "spynet_pretrained", "cpu_cache_length", "img_size", "patch_size"}
)

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "spynet": SpyNet,
    "qecnn": QECNN,
    "basicvsrpp": basicvsrpp,
    "basicvsr_plusplus": basicvsrpp,  # the name in mmagic
    "pqf_basicvsrpp": pqf_basicvsrpp,
    "crds": CRDS,
    "latent_autoencoder": LatentAutoEncoder,
    "swinir": SwinIR,
    "gate": GateNet,
}


def build(arch: str, config: Mapping[str, Any]) -> nn.Module:
    """A freshly initialised network; `config` holds its constructor's arguments.

    Raises ValueError for an unknown name or key, with the nearest known one.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"no architecture {arch!r}{nearest(arch, ARCHITECTURES)}")
    network = ARCHITECTURES[arch]
    known = set(inspect.signature(network).parameters)
    for key in config:
        if key not in known | PUBLIC_ARGUMENTS:
            raise ValueError(f"{arch} has no setting {key!r}{nearest(key, known)}")
    return network(**{key: value for key, value in config.items() if key in known})


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known name most like `name`, or all of them."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
