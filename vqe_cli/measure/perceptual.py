"""Metrics of other people's Python packages, each imported when it is asked for: SSIMULACRA2, CVVDP, LPIPS.

All of them get the 8-bit RGB that FFmpeg makes of a picture, and take it for sRGB.
"""

import io
import os
import tempfile
import warnings
from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import PairView
from vqe_cli.weights.tensors import TensorError, read_tensor_file


def package(module: str, metric: str, remedy: str) -> ModuleType:
    """The module. Raises VqeError where it is not installed or cannot be imported."""
    try:
        return import_module(module)
    except Exception as error:  # a broken installation fails in any way: a wrong build of what it needs
        raise VqeError(f"The metric {metric} needs the package {module} ({error}).", remedy) from error


def version_of(distribution: str) -> str:
    """The name of an installed distribution with its version; the name alone where that is unknown."""
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


class Ssimulacra2Metric:
    """SSIMULACRA2 (Sneyers, 2023) of every pair; 100 for equal pictures, below 0 for very bad ones."""

    SMALLEST_SIDE = 8

    def __init__(self) -> None:
        remedy = "Install the extra vqe[ssimulacra2]: `pip install '.[ssimulacra2]'`."
        self._score = package("ssimulacra2", "ssimulacra2", remedy).compute_ssimulacra2
        self.source = version_of("ssimulacra2")
        self._values: list[float | None] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames."""
        if min(pair.size) < self.SMALLEST_SIDE:
            self._values.append(None)
            return
        self._values.append(float(self._score(ppm(pair.gt.rgb24), ppm(pair.pred.rgb24))))

    def close(self) -> list[float | None]:
        """One value for each pair pushed; None for pictures below 8 pixels."""
        return self._values

    def discard(self) -> None:
        """Nothing is held."""


def ppm(pixels: np.ndarray) -> IO[bytes]:
    """A picture (h, w, 3) uint8 as a file that image libraries read."""
    height, width = pixels.shape[:2]
    return io.BytesIO(b"P6 %d %d 255\n" % (width, height) + pixels.tobytes())


class CvvdpMetric:
    """ColorVideoVDP (Mantiuk et al., SIGGRAPH 2024): one value in JOD for the clip, 10 at best.

    It looks at time, so every frame of a clip has the clip's value. On the standard 24-inch monitor, for
    pictures above 1920x1080 on the standard 4K one. rate: frames per second. Frames wait in a temporary file
    (6 bytes a pixel and frame).
    """

    def __init__(self, rate: float) -> None:
        remedy = "Install it with `pip install cvvdp`."
        self._package = package("pycvvdp", "cvvdp", remedy)
        self.source = version_of("cvvdp")
        self._rate = rate
        self._size = (0, 0)
        self._pushed = 0
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames."""
        if not self._files:
            self._size = pair.size
            for _ in range(2):
                file = tempfile.TemporaryFile(prefix="vqe-cvvdp-")  # noqa: SIM115
                self._files.append(self._stack.enter_context(file))
        for target, view in zip(self._files, (pair.gt, pair.pred), strict=True):
            target.write(view.rgb24.tobytes())
        self._pushed += 1

    def close(self) -> list[float | None]:
        """The clip's value, once for each pair pushed."""
        if not self._pushed:
            return []
        display = "standard_fhd" if self._size[0] <= 1920 and self._size[1] <= 1080 else "standard_4k"
        gt, pred = (self._clip(file) for file in self._files)
        judge = self._package.cvvdp(display_name=display, quiet=True)
        rate = self._rate if self._pushed > 1 else 0  # 0: a still picture
        with torch.inference_mode():
            value = float(judge.predict(pred, gt, dim_order="FHWC", frames_per_second=rate)[0])
        self.source = f"{version_of('cvvdp')}, {display}"
        return [value] * self._pushed

    def discard(self) -> None:
        """Remove the temporary files."""
        self._stack.close()

    def _clip(self, file: IO[bytes]) -> Tensor:
        file.flush()
        width, height = self._size
        return torch.from_numpy(
            np.memmap(file, np.uint8, mode="r+", shape=(self._pushed, height, width, 3))  # type: ignore[call-overload]
        )


# Where the lpips package keeps the convolutions of torchvision's AlexNet.
ALEXNET = {0: "slice1.0", 3: "slice2.3", 6: "slice3.6", 8: "slice4.8", 10: "slice5.10"}
LPIPS_REMEDY = (
    "Give torchvision's alexnet-owt-7be5be79.pth, or a state dict of lpips.LPIPS(net='alex'), with "
    "--lpips-weights or VQE_LPIPS_WEIGHTS."
)


class LpipsMetric:
    """LPIPS 0.1 over AlexNet (Zhang et al., CVPR 2018) of every pair, by the package lpips; 0 for equal ones.

    weights: the file of AlexNet's (or all) weights. Raises VqeError when the package or the weights are
    missing or are others.
    """

    SMALLEST_SIDE = 31  # below it a picture has no samples left at the third layer

    def __init__(self, weights: Path | None) -> None:
        lpips = package("lpips", "lpips", "Install it with `pip install lpips`.")
        named = weights or os.environ.get("VQE_LPIPS_WEIGHTS")
        if not named:
            raise VqeError("The metric lpips needs AlexNet's weights, which vqe does not ship.", LPIPS_REMEDY)
        with warnings.catch_warnings():  # it calls torchvision in an old way
            warnings.simplefilter("ignore")
            self._network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        load_alexnet(self._network, Path(named))
        self.source = f"{version_of('lpips')}, AlexNet"
        self._values: list[float | None] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames."""
        if min(pair.size) < self.SMALLEST_SIDE:
            self._values.append(None)
            return
        with torch.inference_mode():
            sides = [
                torch.from_numpy(view.rgb24.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
                for view in (pair.gt, pair.pred)
            ]
            self._values.append(float(self._network(*sides)))

    def close(self) -> list[float | None]:
        """One value for each pair pushed; None for pictures below 31 pixels."""
        return self._values

    def discard(self) -> None:
        """Nothing is held."""


def load_alexnet(network: Any, path: Path) -> None:
    """Fill the package's network from a file of torchvision's AlexNet, or of the whole network.

    Raises VqeError when the file cannot be read, lacks a tensor, or has one of another shape.
    """
    try:
        found = read_tensor_file(path)
    except (OSError, TensorError) as error:
        raise VqeError(f"The LPIPS weights {path} cannot be read ({error}).", LPIPS_REMEDY) from error
    found = found if isinstance(found, dict) else {}
    names = {
        f"features.{index}.{kind}": f"net.{place}.{kind}"
        for index, place in ALEXNET.items()
        for kind in ("weight", "bias")
    }
    given = {names.get(key, key): tensor for key, tensor in found.items()}
    wanted = network.state_dict()
    fitting = {
        key: tensor
        for key, tensor in given.items()
        if key in wanted and isinstance(tensor, Tensor) and tensor.shape == wanted[key].shape
    }
    for key in names.values():
        if key not in fitting:
            raise VqeError(f"{path} has no AlexNet tensor {key} of {tuple(wanted[key].shape)}.", LPIPS_REMEDY)
    network.load_state_dict(fitting, strict=False)
