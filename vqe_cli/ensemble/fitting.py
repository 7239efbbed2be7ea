"""The least-squares weights of an ensemble on clips whose truth is known, and what they gain.

Of each frame only the products of the members' errors are kept: sums of them say what any weights would
score, and one linear system gives the best ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from vqe_cli.ensemble.methods import MemberFrames
from vqe_cli.ensemble.results import Opened, Results, check_counts
from vqe_cli.errors import VqeError
from vqe_cli.measure.pictures import agree
from vqe_cli.measure.sources import Side
from vqe_cli.video.colour import to_rgb, to_tensors
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.sources import open_reader

LEAST_ERROR = 1e-10  # 100 dB
RIDGE = 1e-9  # decides for equal shares where members are alike


@dataclass(frozen=True)
class ClipErrors:
    """Products of errors over a clip.

    name: of the clip. products: (F, K, K), for each frame the mean over its RGB samples of error i times
    error j of the members (black 0, white 1), those of the input in the last row where `has_input`.
    """

    name: str
    products: Tensor
    has_input: bool

    @property
    def members(self) -> int:
        return self.products.shape[1] - self.has_input

    def psnr(self, weights: Sequence[float]) -> float:
        """Mean over the frames of the RGB-PSNR (dB) that members with these weights score, before rounding.

        One weight for each member, and one for the input where there is one (0 if left out).
        """
        padded = [*weights, *[0.0] * (self.products.shape[1] - len(weights))]
        vector = torch.tensor(padded, dtype=torch.float64)
        errors = torch.einsum("i,fij,j->f", vector, self.products, vector)
        return float((-10 * torch.log10(errors.clamp(min=LEAST_ERROR))).mean())


@dataclass(frozen=True)
class Fit:
    """Fitted weights and what they bring.

    weights: of the members, sum 1. clips: for each its name and PSNRs (dB): `members` (a list), `mean` (all
    alike), `fitted`, `input` (None where it is not there).
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    clips: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Weights, mean PSNRs over the clips, gains in dB, and every clip."""
        columns = [mean(clip["members"][i] for clip in self.clips) for i in range(len(self.members))]
        best = max(range(len(columns)), key=columns.__getitem__)
        fitted = mean(clip["fitted"] for clip in self.clips)
        given = [clip["input"] for clip in self.clips if clip["input"] is not None]
        return {
            "members": [
                {"member": name, "weight": round(weight, 4), "psnr": round(psnr, 4)}
                for name, weight, psnr in zip(self.members, self.weights, columns, strict=True)
            ],
            "psnr_mean": round(mean(clip["mean"] for clip in self.clips), 4),
            "psnr_fitted": round(fitted, 4),
            "best_member": self.members[best],
            "gain_over_best_db": round(fitted - columns[best], 4),
            "worst_clip_over_best_db": round(
                min(clip["fitted"] - clip["members"][best] for clip in self.clips), 4
            ),
            "gain_over_input_db": round(fitted - mean(given), 4) if given else None,
            "clips": list(self.clips),
        }


def fit(members: Sequence[str], clips: Sequence[ClipErrors]) -> Fit:
    """The weights with the least squared error, each clip counting alike, and what they score."""
    count = len(members)
    total = torch.zeros(count, count, dtype=torch.float64)
    for clip in clips:
        products = clip.products[:, :count, :count].mean(dim=0)
        # By its own error, as in the mean of PSNRs; else the noisiest clip would decide.
        total += products / products.diagonal().mean().clamp(min=LEAST_ERROR)
    weights = least_squares(total)
    equal = [1 / count] * count
    rows = tuple(
        {
            "clip": clip.name,
            "members": [round(clip.psnr([float(j == i) for j in range(count)]), 4) for i in range(count)],
            "mean": round(clip.psnr(equal), 4),
            "fitted": round(clip.psnr(weights), 4),
            "input": round(clip.psnr([*[0.0] * count, 1.0]), 4) if clip.has_input else None,
        }
        for clip in clips
    )
    return Fit(tuple(members), tuple(weights), rows)


def least_squares(products: Tensor) -> list[float]:
    """The weights w with sum 1 that make w' P w least, for products of errors P (K, K), float64."""
    ridge = RIDGE * products.diagonal().mean().clamp(min=LEAST_ERROR)
    ones = torch.ones(len(products), dtype=torch.float64)
    solved = torch.linalg.solve(products + ridge * torch.eye(len(ones), dtype=torch.float64), ones)
    return [float(weight) for weight in solved / solved.sum()]


def errors_of_results(name: str, results: Results, truth: Path) -> ClipErrors:
    """Products of errors of finished results; raises VqeError as `Opened` and `clip_errors` do."""
    with Opened(results) as opened, truth_side(truth, results.frames) as side:
        return clip_errors(name, opened.member_frames(), opened.info, side)


def truth_side(path: Path, frames: int | None) -> Side:
    """The truth, ready to be entered."""
    return Side("truth", path, open_reader(path, frames=frames))


def clip_errors(name: str, groups: Iterable[MemberFrames], info: VideoInfo, truth: Side) -> ClipErrors:
    """Products of errors of a clip's members against its truth, which is walked through in step.

    info: of the members or of the input (the colour counts). truth: entered.
    Raises VqeError where sizes or frame counts differ.
    """
    agreement = agree([(str(truth.path), truth.info), (str(info.path), info)])
    gt_colour, colour = agreement.colours
    products: list[Tensor] = []
    has_input, counts = False, [0, 0]
    for group, frame in zip_longest(groups, truth):
        counts = [counts[0] + (group is not None), counts[1] + (frame is not None)]
        if group is None or frame is None:
            continue
        gt = to_rgb(to_tensors(frame.planes), gt_colour)
        has_input = group.given is not None
        candidates = [*group.members, *([group.given] if group.given is not None else [])]
        pictures = [to_rgb(planes, colour).cpu() for planes in candidates]
        if pictures[0].shape != gt.shape:
            (rows, columns), (height, width) = pictures[0].shape[-2:], gt.shape[-2:]
            raise VqeError(
                f"{truth.path} is {width}x{height}, the results of {info.path} are {columns}x{rows}.",
                "Give the truth of this input.",
            )
        errors = torch.stack([(picture - gt).flatten() for picture in pictures])
        products.append((errors @ errors.T).double() / gt.numel())
    check_counts([(info.path, counts[0]), (truth.path, counts[1])])
    if not products:
        raise VqeError(f"{info.path} has no frames.", "Name a clip that has some.")
    return ClipErrors(name, torch.stack(products), has_input)
