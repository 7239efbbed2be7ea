"""vqe: makes compressed video look better, guided by what the bitstream knows.

    import vqe_cli as vqe

    report = vqe.enhance("in.mkv", "out.mkv", model="balanced", scale=2, progress=print)

What this module lists in `__all__` is the public face, covered by semantic versioning from 0.2.0 on.
"""

from typing import TYPE_CHECKING, Any

from vqe_cli.errors import (
    DeviceError,
    InputError,
    OutputError,
    SettingsError,
    VqeError,
    WeightsError,
)

if TYPE_CHECKING:
    from vqe_cli.api import Evaluation, Model, enhance, evaluate, inspect, load_model, read

__version__ = "0.1.0"

__all__ = [
    "DeviceError",
    "Evaluation",
    "InputError",
    "Model",
    "OutputError",
    "SettingsError",
    "VqeError",
    "WeightsError",
    "enhance",
    "evaluate",
    "inspect",
    "load_model",
    "read",
]


def __getattr__(name: str) -> Any:
    """What needs PyTorch and FFmpeg is imported when it is first used, so that `vqe --help` is quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vqe_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
