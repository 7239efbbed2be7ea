"""How much memory a network's run takes, measured on a small picture: what automatic sizes go by.

Depends on the network alone, never on the machine's state, so that the sizes, and with them the results,
are the same everywhere.
"""

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

PROBE_SIDE = 64
PROBE_FRAMES = (3, 5)
# Workspaces of convolutions and matrix products, allocator's slack: what the count of tensors does not see.
MARGIN = 1.5


@dataclass(frozen=True)
class Footprint:
    """Bytes for each pixel of the input in float32: `fixed` for any clip, `frame` for each of its frames."""

    fixed: float
    frame: float

    def bytes(self, pixels: int, frames: int) -> int:
        """Memory of one run on a clip of `frames` pictures of `pixels` pixels."""
        return int(pixels * (self.fixed + self.frame * frames))


NOTHING = Footprint(0.0, 0.0)


def measure(network: nn.Module) -> Footprint:
    """The footprint of a float32 network on the CPU, input and output included.

    One run of a video network at each of two lengths, or one run of an image network, on noise of 64x64.
    """
    noise = torch.rand(
        1, max(PROBE_FRAMES), 3, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator().manual_seed(0)
    )
    pixels = PROBE_SIDE**2
    if not network.is_video:
        return Footprint(0.0, MARGIN * _peak(network, noise[:, 0]) / pixels)
    short, long = (_peak(network, noise[:, :frames]) for frames in PROBE_FRAMES)
    frame = max(0.0, (long - short) / (PROBE_FRAMES[1] - PROBE_FRAMES[0]))
    fixed = max(0.0, short - frame * PROBE_FRAMES[0])
    return Footprint(MARGIN * fixed / pixels, MARGIN * frame / pixels)


_known: dict[str, Footprint] = {}


def measure_once(network: nn.Module, config: str) -> Footprint:
    """As `measure`; networks of the same `config` (their architecture and all its numbers, as text) are
    measured once in the life of the process.
    """
    if config not in _known:
        _known[config] = measure(network)
    return _known[config]


def _peak(network: nn.Module, x: Tensor) -> int:
    """Most bytes of tensors that live at the same time while the network runs on x, x included."""
    marks = (torch.zeros(x.shape[:2], dtype=torch.bool),) if x.dim() == 5 else ()
    with torch.no_grad(), _LiveBytes() as live:
        network(x, *marks)
    return live.peak + x.nbytes


class _LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, and forgets each when its last tensor dies."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[int, int]] = {}  # address -> (bytes, tensors)
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else (out,):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        size, tensors = self.live.get(address, (0, 0))
        if tensors == 0:
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
        self.live[address] = (size, tensors + 1)
        weakref.finalize(tensor, self._release, address)

    def _release(self, address: int) -> None:
        size, tensors = self.live.pop(address)
        if tensors > 1:
            self.live[address] = (size, tensors - 1)
        else:
            self.now -= size
