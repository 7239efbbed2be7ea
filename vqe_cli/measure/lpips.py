"""LPIPS 0.1 (Zhang et al., CVPR 2018) over AlexNet, from weights that the user supplies.

The distance of two pictures in the features of AlexNet's five convolutions: features are normalised over
channels, differences squared, weighted by learned non-negative weights and averaged over space.
"""

import os
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import PairView
from vqe_cli.weights.tensors import TensorError, read_tensor_file

# Key prefix in the public checkpoint, channels out, channels in, kernel, stride, padding; a max pool before
# the second and third (AlexNet as in "One weird trick for parallelizing convolutional neural networks").
LAYERS = (
    ("net.slice1.0", 64, 3, 11, 4, 2),
    ("net.slice2.3", 192, 64, 5, 1, 2),
    ("net.slice3.6", 384, 192, 3, 1, 1),
    ("net.slice4.8", 256, 384, 3, 1, 1),
    ("net.slice5.10", 256, 256, 3, 1, 1),
)
POOLED = (1, 2)
# Of pictures in -1 … 1: the ImageNet mean and deviation as the public code has them.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
# Below this a picture has no samples left at the third layer.
SMALLEST_SIDE = 31
HOW_TO_GET = (
    'Make the file once with `pip install lpips` and `python -c "import lpips, torch; '
    "torch.save(lpips.LPIPS(net='alex').state_dict(), 'lpips_alex.pth')\"`, then give it with "
    "--lpips-weights lpips_alex.pth or VQE_LPIPS_WEIGHTS."
)


class LpipsMetric:
    """LPIPS of every pair as it comes. Raises VqeError when there are no weights or they are not LPIPS's."""

    def __init__(self, weights: Path | None) -> None:
        named = weights or os.environ.get("VQE_LPIPS_WEIGHTS")
        if not named:
            raise VqeError("The metric lpips needs weights, which vqe does not ship.", HOW_TO_GET)
        self._weights = load_weights(Path(named))
        self.source = "LPIPS 0.1, AlexNet"
        self._values: list[float | None] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames."""
        if min(pair.size) < SMALLEST_SIDE:
            self._values.append(None)
            return
        with torch.inference_mode():
            self._values.append(distance(pair.gt.rgb, pair.pred.rgb, self._weights))

    def close(self) -> list[float | None]:
        """One value for each pair pushed; None for pictures below 31 pixels."""
        return self._values

    def discard(self) -> None:
        """Nothing is held."""


@lru_cache(maxsize=1)
def load_weights(path: Path) -> dict[str, Tensor]:
    """The public checkpoint's convolutions and linear weights, by their own keys.

    Raises VqeError when the file cannot be read or lacks a tensor or has one of another shape.
    """
    try:
        found = read_tensor_file(path)
    except (OSError, TensorError) as error:
        raise VqeError(f"The LPIPS weights {path} cannot be read ({error}).", HOW_TO_GET) from error
    weights = {}
    for index, (prefix, out, channels, kernel, _, _) in enumerate(LAYERS):
        wanted = {
            f"{prefix}.weight": (out, channels, kernel, kernel),
            f"{prefix}.bias": (out,),
            f"lin{index}.model.1.weight": (1, out, 1, 1),
        }
        for key, shape in wanted.items():
            tensor = found.get(key) if isinstance(found, dict) else None
            if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
                raise VqeError(f"{path} has no LPIPS tensor {key} of shape {shape}.", HOW_TO_GET)
            weights[key] = tensor.float()
    return weights


def distance(gt: Tensor, pred: Tensor, weights: dict[str, Tensor]) -> float:
    """LPIPS of two pictures (3, H, W) on 0 … 255; 0 for identical ones."""
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
    features = (torch.stack([gt, pred]) / 127.5 - 1 - shift) / scale
    total = 0.0
    for index, (prefix, _, _, _, stride, padding) in enumerate(LAYERS):
        if index in POOLED:
            features = F.max_pool2d(features, kernel_size=3, stride=2)
        kernel, bias = weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]
        features = F.relu(F.conv2d(features, kernel, bias, stride, padding))
        norm = features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10
        first, second = (features / norm).unbind()
        weight = weights[f"lin{index}.model.1.weight"][0]
        total += float(((first - second).square() * weight).sum(dim=0).mean())
    return total
