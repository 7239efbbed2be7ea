"""Networks as pure PyTorch: tensors in, tensors out. `build` has the one table of architectures."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from models.flow import SpyNet
from models.qecnn import QECNN

# What each name builds, and the reference's arguments that are accepted but change nothing here.
ARCHITECTURES: dict[str, tuple[type[nn.Module], frozenset[str]]] = {
    "spynet": (SpyNet, frozenset({"pretrained"})),
    "qecnn": (QECNN, frozenset()),
}


def build(arch: str, config: Mapping[str, Any]) -> nn.Module:
    """A freshly initialised network; `config` holds its constructor's arguments.

    Raises ValueError for an unknown name or key, with the nearest known one.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"no architecture {arch!r}{nearest(arch, ARCHITECTURES)}")
    network, ignored = ARCHITECTURES[arch]
    known = set(inspect.signature(network).parameters)
    for key in config:
        if key not in known | ignored:
            raise ValueError(f"{arch} has no setting {key!r}{nearest(key, known)}")
    return network(**{key: value for key, value in config.items() if key in known})


def nearest(name: str, known: Mapping[str, Any] | set[str]) -> str:
    """A hint that names the known name most like `name`, or all of them."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"
