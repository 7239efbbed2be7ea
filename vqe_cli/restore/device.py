"""Where the networks run and how precisely: choosing the device, preparing a network for it, running it
there.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import nn

from vqe_cli.errors import DeviceError, OutOfMemory, is_out_of_memory
from vqe_cli.machine import keep_freed_memory
from vqe_cli.networks.motion_fusion import MotionFusion
from vqe_cli.networks.qecnn import QECNN, FoldedQECNN
from vqe_cli.restore import openvino_engine

GIB = 2**30
# Working memory that the automatic sizes may fill. A constant for CPUs, so that results do not depend on
# how much memory a machine happens to have; a share of what the device model has otherwise.
CPU_BUDGET = 4 * GIB
MPS_BUDGET = 4 * GIB
CUDA_SHARE = 0.6
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device, the precision on it, and what computes there."""

    device: torch.device
    """Where tensors are."""

    precision: str
    """"fp32", "bf16" or "fp16"."""

    name: str
    """Model of the device, for reports."""

    budget: int
    """Bytes that the automatic sizes may fill; the same for every machine with this model of device."""

    engine: str = "torch"
    """"torch" or "openvino"."""

    warning: str | None = None
    """Why it is not the engine that would be faster, one sentence."""

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network on the device, convolutions laid out channels last and rounded to the precision.

        What decides the rest, position arithmetic and normalisation, stays float32 under autocast. Networks
        that have a faster form for inference take it. Raises DeviceError for one that OpenVINO refuses.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        if self.engine == "openvino":
            network = openvino_engine.converted(network, self.precision)
        if isinstance(network, QECNN | MotionFusion):
            network = network.for_inference()
        network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        round_layers(network, DTYPES[self.precision])
        return network.eval().requires_grad_(False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs networks without gradients in the chosen precision; too little memory becomes a VqeError."""
        dtype = DTYPES[self.precision]
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, dtype, enabled=self.precision != "fp32"),
            ):
                yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"{self.name} has not enough memory for this ({str(error).splitlines()[0]}).",
                    "Use a smaller --tile, --chunk or --tta.",
                ) from error
            raise

    def finished(self) -> None:
        """Waits until the device has done what was asked, so that a clock can be read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def round_layers(network: nn.Module, dtype: torch.dtype) -> None:
    """Round the weights of convolutions and linear layers; a folded network rounds its own after folding."""
    folded = [
        part for module in network.modules() if isinstance(module, FoldedQECNN) for part in module.modules()
    ]
    for module in set(network.modules()) - set(folded):
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)


def choose(device: str = "auto", precision: str = "auto", engine: str = "torch") -> Compute:
    """The device, precision and engine that `--device`, `--precision` and `--engine` ask for.

    device: "auto" (CUDA, else MPS, else CPU), "cpu", "mps", "cuda" or "cuda:N"; of several, separated by
    commas, the first. precision: "auto" is bf16
    where the device has instructions for it, fp16 on older CUDA devices, else fp32. engine: "torch",
    "openvino" or "auto", which is OpenVINO on an x86-64 where it is installed and works.
    Raises VqeError for a device that this machine or this build of PyTorch does not have, and for OpenVINO
    where it cannot compute.
    """
    found = _device(device.split(",")[0])
    if precision == "auto":
        precision = _best_precision(found)
    if precision == "fp16" and found.type == "cpu":
        raise DeviceError("--precision fp16 is not for the CPU.", "Use --precision bf16 or fp32.")
    return Compute(found, precision, *_model(found), *_engine(engine, found))


def _engine(wanted: str, device: torch.device) -> tuple[str, str | None]:
    """What computes on a device, and a warning where that is not what `auto` would like."""
    if wanted == "openvino" and device.type != "cpu":
        raise DeviceError(
            f"--engine openvino computes on the CPU, and the device is {device}.",
            "Use --device cpu, or --engine torch.",
        )
    if wanted == "torch" or device.type != "cpu" or (wanted == "auto" and not _openvino_is_installed()):
        return "torch", None
    problem = openvino_engine.unusable()
    if problem is None:
        return "openvino", None
    if wanted == "openvino":
        raise DeviceError(f"--engine openvino was asked for, and {problem}.", openvino_engine.REMEDY)
    return "torch", f"PyTorch computes, because {problem}"


def _openvino_is_installed() -> bool:
    """Whether it is, on a kind of processor for which it was measured."""
    return platform.machine().lower() in ("x86_64", "amd64") and find_spec("openvino") is not None


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if wanted.startswith("cuda"):
        number = int(wanted.partition(":")[2] or 0)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if number >= count:
            raise DeviceError(
                f"--device {wanted} was asked for, and PyTorch {torch.__version__} sees "
                f"{count or 'no'} CUDA device{'' if count == 1 else 's'} here.",
                "Use --device auto or cpu, or install a PyTorch build with CUDA and the driver.",
            )
        return torch.device("cuda", number)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            "--device mps was asked for, and there is no Apple GPU here.", "Use --device auto or cpu."
        )
    return torch.device(wanted)


def _best_precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if device.type == "cpu" and has_bf16_instructions() else "fp32"


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bfloat16 itself (AVX-512 BF16 or AMX); emulation is slower than float32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _model(device: torch.device) -> tuple[str, int]:
    """Name and memory budget of a device."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return properties.name, int(CUDA_SHARE * properties.total_memory)
    if device.type == "mps":
        return "Apple GPU", MPS_BUDGET
    return f"CPU {_cpu_name()}".strip(), CPU_BUDGET


def _cpu_name() -> str:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return str(capabilities.get("cpu_name") or platform.processor() or platform.machine())
