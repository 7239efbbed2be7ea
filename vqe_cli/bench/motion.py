"""How well motion is found on compressed frames: the clean neighbour, moved, against the clean frame."""

import importlib
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqe_cli.bench.gains import clips_of, truth_of
from vqe_cli.errors import VqeError
from vqe_cli.networks.flow import SpyNet, flow_warp, resize_flow
from vqe_cli.networks.refine import least_squares_flow
from vqe_cli.training.data import clip_rgb, decode_clip
from vqe_cli.training.library import agreed
from vqe_cli.training.validation import psnr
from vqe_cli.weights.load import load_network
from vqe_cli.weights.registry import StageSpec

QUARTER = 4
FRAMES = slice(8, 13)


@torch.inference_mode()
def bench_motion(
    data: Path, recipes: list[str], flow: Path, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """PSNR in dB of clean previous frames that are moved onto clean frames by flows of compressed ones.

    `flow` is a file with a flow network, which sees pictures of a quarter of the size, as in stage I. The
    result has the list `recipes`, means over clips: without motion, by that network, by least squares as
    in MotionFusion, and by OpenCV's DIS at full size where OpenCV is installed. Raises VqeError for a folder
    or a file that is missing or unfit.
    """
    network = load_network(StageSpec(str(flow.absolute())))
    if not isinstance(network, SpyNet):
        raise VqeError(f"{flow} holds no flow network.", "Name one that train-stage flow has written.")
    rows = []
    for recipe in recipes:
        found: list[dict[str, float]] = []
        for lq in clips_of(data / "lq" / recipe):
            pair = agreed(recipe, decode_clip(lq), decode_clip(truth_of(data, lq)))
            height, width = (length // QUARTER * QUARTER for length in pair.lq.size)
            given, clean = (clip_rgb(clip, FRAMES)[..., :height, :width] for clip in (pair.lq, pair.gt))
            found.append(
                {
                    name: float(psnr(flow_warp(clean[:-1], motion, padding_mode="border"), clean[1:]).mean())
                    for name, motion in motions(network, given).items()
                }
            )
            progress(f"{recipe} {lq.stem}: " + ", ".join(f"{k} {v:.2f} dB" for k, v in found[-1].items()))
        rows.append({"recipe": recipe, **{name: mean(each[name] for each in found) for name in found[0]}})
    return {"recipes": rows}


def motions(network: SpyNet, frames: Tensor) -> dict[str, Tensor]:
    """Flows (T-1, 2, H, W) of frames (T, 3, H, W) to their previous ones, by the name of the way."""
    later, earlier = frames[1:], frames[:-1]
    small = torch.nn.functional.interpolate(frames, scale_factor=1 / QUARTER, mode="bicubic")
    learned = resize_flow(network(small[1:], small[:-1]), (frames.shape[-2], frames.shape[-1]))
    found = {
        "none": torch.zeros_like(learned),
        "network": learned,
        "least squares": least_squares_flow(later, earlier),
    }
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError:
        return found
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = (frames.mean(dim=1).clamp(0, 1) * 255).round().byte().numpy()
    flows = [finder.calc(gray[t], gray[t - 1], None) for t in range(1, len(gray))]
    return {**found, "DIS": torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)}
