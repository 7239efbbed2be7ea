"""What settings of networks may be, and how large a network may grow while it is built.

Settings come from headers of files, which anybody may have written: they are looked at before anything is
made of them, and whoever knows how much a file holds builds no more than that.
"""

import reprlib
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

WIDTH = (1, 4096)
BLOCKS = (0, 256)
# Least and greatest value of numeric settings, by name; of lists each item's.
RANGES: dict[str, tuple[float, float]] = {
    "channels": WIDTH,
    "mid_channels": WIDTH,
    "prop_channels": WIDTH,
    "reconstruction_channels": WIDTH,
    "embed_dim": WIDTH,
    "in_chans": (1, 64),
    "blocks": BLOCKS,
    "num_blocks": BLOCKS,
    "reconstruction_blocks": BLOCKS,
    "encoder_blocks": BLOCKS,
    "decoder_blocks": BLOCKS,
    "propagation_blocks": BLOCKS,
    "depths": (1, 64),
    "num_heads": WIDTH,
    "deform_groups": WIDTH,
    "levels": (1, 10),
    "steps": (1, 64),
    "heads": WIDTH,
    "candidates": (1, 1024),
    "unshuffle": (1, 8),
    "scale": (1, 4),
    "upscale": (1, 8),
    "feature_stride": (1, 4),
    "flow_stride": (1, 64),
    "window_size": (1, 32),
    "max_residue_magnitude": (0, 1000),
    "mlp_ratio": (0.01, 64),
    "img_range": (0.001, 100_000),
    "residual_step": (-1000, 1000),
}
ANY = (0, 4096)  # of a setting that has no range of its own
LONGEST_LIST = 32
# Of buffers, which a network makes of its settings and no file holds: those of public networks have a tenth.
MOST_BUFFER_NUMBERS = 1 << 24


class TooLarge(ValueError):
    """A network has more weights than it may have."""


def check_settings(network: Callable[..., nn.Module], config: Mapping[str, Any]) -> None:
    """Raises ValueError for a setting of another kind than the constructor's annotation, or out of range."""
    hints = kinds_of(network)
    for key, value in config.items():
        if key in hints:
            _check(key, value, hints[key])


def kinds_of(network: Callable[..., nn.Module]) -> dict[str, Any]:
    """The annotations of a network's settings, by name."""
    return get_type_hints(getattr(network, "__init__") if isinstance(network, type) else network)  # noqa: B009


def _check(key: str, value: Any, hint: Any) -> None:
    """ValueError unless `value` is of one of the kinds of the annotation and in range."""
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return
    for kind in kinds:
        origin = get_origin(kind) or kind
        if origin in (int, float) and _is_number(value, origin):
            return _check_range(key, value)
        if origin is Sequence and isinstance(value, list | tuple):
            _check_list(key, value)
            return None
        if origin is Mapping and isinstance(value, Mapping):
            return None  # looked at by what takes it
        if origin in (bool, str) and type(value) is origin:
            return None
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    names |= {Sequence: "a list of whole numbers", Mapping: "a mapping"}
    wanted = " or ".join(names[get_origin(kind) or kind] for kind in kinds if kind is not type(None))
    raise ValueError(f"{key} is {wanted}, not {_short(value)}")


def _is_number(value: Any, kind: type) -> bool:
    return type(value) is int or (kind is float and type(value) is float)


def _check_list(key: str, items: Sequence[Any]) -> None:
    if not 1 <= len(items) <= LONGEST_LIST:
        raise ValueError(f"{key} is a list of 1 to {LONGEST_LIST} numbers, not of {len(items)}")
    for item in items:
        if type(item) is not int:
            raise ValueError(f"{key} is a list of whole numbers, not of {_short(item)}")
        _check_range(key, item)


def _check_range(key: str, value: float) -> None:
    least, greatest = RANGES.get(key, ANY)
    if not least <= value <= greatest:  # NaN neither
        raise ValueError(f"{key} lies between {least:g} and {greatest:g}, and is {_short(value)}")


def _short(value: Any) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


@contextmanager
def at_most(tensors: int, numbers: int) -> Iterator[None]:
    """Whatever network this thread builds meanwhile has at most so many parameters and numbers in them.

    Raises TooLarge as soon as it gets more; on the meta device nothing has been allocated then.
    """
    thread = threading.get_ident()
    found = {"tensors": 0, "numbers": 0, "buffers": 0}

    def parameter(module: nn.Module, name: str, value: nn.Parameter | None) -> None:
        if value is None or threading.get_ident() != thread:
            return
        found["tensors"] += 1
        found["numbers"] += value.numel()
        if found["tensors"] > tensors or found["numbers"] > numbers:
            raise TooLarge(f"it would have more than {tensors} tensors of {numbers} numbers")

    def buffer(module: nn.Module, name: str, value: Any) -> None:
        if value is None or threading.get_ident() != thread:
            return
        found["buffers"] += value.numel()
        if found["buffers"] > MOST_BUFFER_NUMBERS:
            raise TooLarge(f"it would make more than {MOST_BUFFER_NUMBERS} numbers of its settings")

    hooks = [
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(buffer),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
