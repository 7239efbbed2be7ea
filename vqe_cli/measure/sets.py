"""Distances between sets of frames: FID, KID, VID, over features of a network that the user names.

FID: Fréchet distance of Gaussians over image features (Heusel et al., NeurIPS 2017). KID: the squared maximum
mean discrepancy with a cubic kernel, unbiased (Bińkowski et al., ICLR 2018). VID: the Fréchet distance over
features of clips (of I3D, as in Unterthiner et al., 2018).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import View

CLIP_FRAMES = 16  # of a clip for VID: the least that I3D takes
ROWS_AT_ONCE = 1024  # of a kernel matrix
OPTIONS = {"return_features": True, "rescale": True, "resize": True}


@dataclass(frozen=True)
class SetMetric:
    """A distance of two sets of features (N, D), (M, D); lower is better."""

    about: str
    """One line."""
    kind: str
    """Of which network: "image" or "video"."""
    distance: Callable[[np.ndarray, np.ndarray], float]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the sets' means and covariances."""
    difference = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # (C1 C2)^(1/2) has the trace of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric.
    common = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)).sum()
    total = float(difference @ difference + sum(np.trace(each) for each in covariances) - 2 * common)
    return max(total, 0.0)


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased estimate of MMD^2 with the kernel (x y / D + 1)^3; about 0, also below, for like sets."""
    same = 0.0
    for features in (first, second):
        others = _kernel_sum(features, features) - float(_kernel_of_each(features).sum())
        same += others / (len(features) * (len(features) - 1))
    return same - 2 * _kernel_sum(first, second) / (len(first) * len(second))


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    """The kernel over all pairs of rows, added up in strips."""
    starts = range(0, len(first), ROWS_AT_ONCE)
    strips = (first[start : start + ROWS_AT_ONCE] @ second.T / first.shape[1] + 1 for start in starts)
    return float(sum((strip**3).sum() for strip in strips))


def _kernel_of_each(features: np.ndarray) -> np.ndarray:
    """The kernel of each row with itself."""
    return ((features * features).sum(axis=1) / features.shape[1] + 1) ** 3


SET_METRICS = {
    "fid": SetMetric("Fréchet distance over image features", "image", frechet_distance),
    "kid": SetMetric("kernel distance over image features", "image", kernel_distance),
    "vid": SetMetric("Fréchet distance over features of clips of 16 frames", "video", frechet_distance),
}


@dataclass(frozen=True)
class Distance:
    """One distance over all frames of a rate point."""

    label: str
    """The rate point, where there are several."""
    metric: str
    """Its name in `SET_METRICS`."""
    output: float | None
    """Of the outputs from the truths; None where there are fewer than two pictures or clips."""
    given: float | None
    """Of the inputs from the truths; None also without inputs."""
    count: int
    """Pictures, or clips, of a set."""
    source: str
    """The network's file."""


class FeatureNetwork:
    """A TorchScript network: pictures (N, 3, H, W), or clips (N, 3, 16, H, W), RGB 0 … 255, to (N, D).

    Of the arguments return_features, rescale and resize, which public files have, those that it knows are
    True. Raises VqeError for a file that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._network = torch.jit.load(str(path), map_location="cpu").eval()
            known = {argument.name for argument in self._network.forward.schema.arguments}
        except (OSError, RuntimeError, ValueError, AttributeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise VqeError(f"{path} is not a TorchScript network ({reason}).", HOW_TO_MAKE) from error
        self._options: dict[str, Any] = {name: value for name, value in OPTIONS.items() if name in known}

    def __call__(self, frames: Sequence[np.ndarray], is_clip: bool) -> np.ndarray:
        """The features (1, D), float64, of one picture or of one clip's pictures, each (h, w, 3) uint8."""
        pixels = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).float()
        try:
            with torch.inference_mode():
                found = self._network(pixels[None] if is_clip else pixels[None, :, 0], **self._options)
        except (RuntimeError, torch.jit.Error) as error:
            reason = str(error).strip().split("\n")[-1]
            raise VqeError(f"The network {self.path} fails on pictures ({reason}).", HOW_TO_MAKE) from error
        if not isinstance(found, torch.Tensor) or found.ndim < 2:
            raise VqeError(f"The network {self.path} gives no features (N, D).", HOW_TO_MAKE)
        return found.reshape(1, -1).double().numpy()


HOW_TO_MAKE = "docs/usage.md says which files are public and how to make one with torch.jit."


class FeatureCollector:
    """Gathers the features of one side of a comparison."""

    def __init__(self, label: str, network: FeatureNetwork, is_clip: bool) -> None:
        self._label = label
        self._network = network
        self._is_clip = is_clip
        self._waiting: list[np.ndarray] = []
        self._pushed = 0
        self.features: list[np.ndarray] = []

    def push(self, view: View) -> None:
        """Take the next picture. Raises VqeError for features that are NaN or infinite."""
        self._waiting.append(view.rgb24)
        self._pushed += 1
        if len(self._waiting) < (CLIP_FRAMES if self._is_clip else 1):
            return
        found = self._network(self._waiting, self._is_clip)
        if not np.isfinite(found).all():
            place = f"picture {self._pushed} of the {self._label}"
            raise VqeError(
                f"{self._network.path} gives NaN or infinity for {place}.",
                "Check the network in float32, and what range of pictures it takes (0 … 255 here).",
            )
        self.features.append(found)
        self._waiting = []


def check_sets(names: Sequence[str], every: int, image: Path | None, video: Path | None) -> None:
    """Raises VqeError for a distance without its network, and for VID of frames that are not neighbours."""
    for name in names:
        kind = SET_METRICS[name].kind
        if (image if kind == "image" else video) is None:
            option = "--fid-network" if kind == "image" else "--vid-network"
            raise VqeError(
                f"The metric {name} needs a network for features.",
                f"Name its file with {option}. {HOW_TO_MAKE}",
            )
        if kind == "video" and every > 1:
            raise VqeError(f"The metric {name} needs frames that follow each other.", "Leave out --every.")


Features = dict[str, dict[str, list[np.ndarray]]]


def distances(
    features: Sequence[Features],
    names: Sequence[str],
    label: str,
    sources: dict[str, str],
) -> list[Distance]:
    """The distances of all videos' frames together.

    features: of each video, as `PairResult.features` has them.
    sources: the network's file by kind.
    """
    found = []
    for name in names:
        metric = SET_METRICS[name]
        sides = {
            side: [row for each in features for row in each.get(metric.kind, {}).get(side, [])]
            for side in ("truth", "output", "input")
        }
        values = {side: _distance(metric, sides["truth"], rows) for side, rows in sides.items()}
        source = sources.get(metric.kind, "")
        found.append(Distance(label, name, values["output"], values["input"], len(sides["output"]), source))
    return found


def _distance(metric: SetMetric, truth: Sequence[np.ndarray], judged: Sequence[np.ndarray]) -> float | None:
    if min(len(truth), len(judged)) < 2:
        return None
    return metric.distance(np.concatenate(truth), np.concatenate(judged))
