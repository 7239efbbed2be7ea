#!/usr/bin/env python3
"""Which temporal network earns its keep: python tools/temporal_ablation.py --data DATA --out results.jsonl

Every design of temporal_designs.py learns behind the same single-frame network (`fast`, which stays as it
is), from the same crops in the same order, for equal steps and for equal CPU time of one thread. Written for
each: the gain over the compressed pictures on the validation clips by recipe, in dB of RGB-PSNR, after both
budgets; how much of it is lost when it is fed single frames; multiply-adds and CPU time.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from temporal_designs import DESIGNS, Behind, GivenPictures  # noqa: E402

import vqe_cli as vqe  # noqa: E402
from vqe_cli.networks.crds import CRDS, LatentAutoEncoder  # noqa: E402
from vqe_cli.networks.flow import SpyNet  # noqa: E402
from vqe_cli.restore.device import has_bf16_instructions  # noqa: E402
from vqe_cli.training.data import Batch, clip_rgb, decode_clip, picture_errors, turned_each  # noqa: E402
from vqe_cli.training.distributed import World  # noqa: E402
from vqe_cli.training.gradients import Gradients  # noqa: E402
from vqe_cli.training.library import Source, find_sources  # noqa: E402
from vqe_cli.training.optimizer import Muon  # noqa: E402
from vqe_cli.training.start import fit_blend  # noqa: E402
from vqe_cli.training.tasks import LEAST_WEIGHT, LEVELS, blend  # noqa: E402

FRAMES = 7
CROP, BATCH = 80, 2
RATE, WARMUP, EMA = 4e-4, 20, 0.98
KEPT = 192  # pixels of the side of what is kept of a training clip
VIEW = (160, 224)  # height and width of what is measured, from the middle
FITTED = 48  # clips that the blend of motion fusion is solved from
FIRST_FITTED = 1 << 20  # the first of their steps, apart from those that are learned from
INTERMEDIATE = 0.3  # weight of CRDS's supervision between, for the first half of the steps
LATENT_STEPS = 400  # of CRDS's encoder and decoder, where they learn first; eight single crops each
SIZE = 480 * 272  # pixels that times are given for


@dataclass(frozen=True)
class Window:
    """Some frames of a clip, cut out of the picture."""

    recipe: str
    """Which compression it went through."""

    pictures: Tensor
    """(T, 9, H, W) in float16: compressed, enhanced frame by frame, truth; RGB in [0, 1]."""

    qp: Tensor
    """(T,) on HEVC's scale, NaN where unknown."""

    peaks: Tensor
    """(T,) bool."""

    errors: Tensor
    """(T,) mean squared errors of the compressed pictures' luma, as whole pictures."""


def cut_out(source: Source, height: int, width: int, draw: np.random.Generator | None) -> Window:
    """A window of a clip: drawn, or the first frames in the middle of the picture."""
    lq, gt = decode_clip(source.lq), decode_clip(source.gt)
    height, width = min(height, lq.size[0]), min(width, lq.size[1])
    places = lq.frames - FRAMES, lq.size[0] - height, lq.size[1] - width
    if draw is None:
        first, top, left = 0, places[1] // 2, places[2] // 2
    else:
        first, top, left = (int(draw.integers(0, most + 1)) for most in places)
    frames = slice(first, first + FRAMES)
    qp = torch.from_numpy(lq.qp[frames])
    pictures = torch.stack([clip_rgb(clip, frames) for clip in (lq, gt)])
    given, truth = pictures[..., top : top + height, left : left + width]
    enhanced = restorer()(given[None], qp=qp[None])[0].clamp(0, 1)
    whole = torch.from_numpy(picture_errors(lq, gt)[frames])
    peaks = torch.from_numpy(lq.pqf[frames])
    return Window(source.recipe, torch.cat([given, enhanced, truth], dim=1).half(), qp, peaks, whole)


@cache
def restorer() -> vqe.Model:
    """The single-frame network, loaded once."""
    return vqe.load_model("fast")


def batch_at(windows: Sequence[Window], step: int, count: int, frames: int, crop: int) -> Batch:
    """The crops of a step, which depend on the step alone."""
    draw = np.random.default_rng(step)
    chosen, cuts, turns = [], [], []
    for _ in range(count):
        window = windows[draw.integers(len(windows))]
        total, _, height, width = window.pictures.shape
        first = draw.integers(total - frames + 1)
        top, left = (2 * draw.integers((side - crop) // 2 + 1) for side in (height, width))
        cut = window.pictures[first : first + frames, :, top : top + crop, left : left + crop]
        chosen.append((window, slice(first, first + frames)))
        cuts.append(cut.float())
        turns.append(int(draw.integers(8)))
    pictures = turned_each(torch.stack(cuts), turns)
    qp, peaks, errors = (
        torch.stack([getattr(window, name)[part] for window, part in chosen])
        for name in ("qp", "peaks", "errors")
    )
    return Batch(pictures[:, :, :6], pictures[:, :, 6:], qp, peaks, errors, tuple(range(count)))


def log_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean over pictures of the logarithm of their squared error, as PSNR has it."""
    return (prediction.float() - truth).square().mean(dim=(-3, -2, -1)).add(1e-6).log().mean()


class Objective:
    """What a design learns."""

    figure = "gain"

    def __init__(self, intermediate: bool) -> None:
        self.intermediate = intermediate

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        if not self.intermediate or share >= 0.5:
            return log_error(network(batch.lq, batch.pqf, batch.qp), batch.gt)
        crds, worse = network.network, batch.lq[:, :, 3:]
        levels = crds.latents(worse, batch.pqf, batch.qp)
        steps = len(levels) - 1
        loss = log_error(crds.decoded(worse, levels[0], levels[-1]), batch.gt)
        for done, latents in enumerate(levels[1:-1], start=1):
            target = blend(worse, batch.gt, 1 - done / steps)
            squares = F.mse_loss(crds.decoded(worse, levels[0], latents).float(), target)
            loss = loss + INTERMEDIATE * squares / (batch.lq[:, :, :3] - batch.gt).square().mean()
        return loss


class LatentObjective:
    """What CRDS's encoder and decoder learn first: the residual to a blend with the truth (8 to 10)."""

    figure = "gain"

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        worse, truth = batch.lq[:, 0, 3:], batch.gt[:, 0]
        shares = torch.arange(len(worse)).remainder(LEVELS).div(LEVELS).view(-1, 1, 1, 1)
        target = blend(worse, truth, shares)
        squares = (network(worse, target).float() - target).square().mean(dim=(1, 2, 3))
        scale = (worse - truth).square().mean()
        return (squares / (shares.flatten() + LEAST_WEIGHT)).mean() / scale


def learner(network: nn.Module, objective: Any) -> Any:
    """What gives the next step's loss at `share` and takes it, and the averaged network."""
    torch.manual_seed(0)
    gradients = Gradients(network, objective, torch.device("cpu"), World(), has_bf16_instructions())
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = Muon([{"params": trained}], RATE)
    average = deepcopy(network).eval().requires_grad_(False)

    def step(number: int, batch: Batch, share: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (number + 1) / WARMUP)
        loss = float(gradients.compute(batch, share))
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            decay = min(EMA, (1 + number) / (10 + number))
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        return loss

    return step, average


def started(name: str, windows: Sequence[Window]) -> nn.Module:
    """A design before it learns: flows from the bundled flow network, which stay; the blend of motion fusion
    solved; where its name says so, CRDS's encoder and decoder trained."""
    torch.manual_seed(0)
    network = DESIGNS[name]()
    for module in network.modules():
        if isinstance(module, SpyNet):
            module.load_state_dict(load_file(ROOT / "models" / "flow.safetensors"))
            module.requires_grad_(False)
    if isinstance(network, GivenPictures):
        network.spatial.requires_grad_(False)
        batches = (batch_at(windows, FIRST_FITTED + step, 1, FRAMES, 128) for step in range(FITTED))
        fit_blend(network, batches, has_bf16_instructions())
    if name == "crds, encoder":
        assert isinstance(network, Behind) and isinstance(network.network, CRDS)
        start = LatentAutoEncoder(32, 2, 1, 2)
        step, average = learner(start, LatentObjective())
        for number in range(LATENT_STEPS):
            step(number, batch_at(windows, number, 8, 1, CROP), number / LATENT_STEPS)
        network.network.encoder.load_state_dict(average.encoder.state_dict())
        network.network.decoder.load_state_dict(average.decoder.state_dict())
    return network


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """(T,) in dB."""
    return -10 * (a.clamp(0, 1) - b).square().mean(dim=(1, 2, 3)).log10()


@torch.inference_mode()
def gains(network: nn.Module | None, windows: Sequence[Window], single: bool = False) -> dict[str, float]:
    """Mean gain over the compressed pictures in dB, by recipe; of the single-frame network without another.

    single: each frame is given as a clip of its own.
    """
    found: dict[str, list[float]] = {}
    for window in windows:
        clip = window.pictures.float()
        given, enhanced, truth = clip.split(3, dim=1)
        if network is not None:
            lengths = [1] * len(clip) if single else [len(clip)]
            parts = zip(*(x.split(lengths) for x in (clip, window.peaks, window.qp)), strict=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16_instructions()):
                pieces = [network(c[None, :, :6], p[None], q[None])[0] for c, p, q in parts]
            enhanced = torch.cat(pieces).float()
        gain = (psnr(enhanced, truth) - psnr(given, truth)).mean()
        found.setdefault(window.recipe, []).append(float(gain))
    return {recipe: round(sum(values) / len(values), 4) for recipe, values in found.items()}


@torch.inference_mode()
def cost(network: nn.Module, window: Window) -> dict[str, float]:
    """Multiply-adds a pixel and CPU seconds of one thread for a frame of 480x272, in the middle of a clip."""
    clip = window.pictures[None, :, :6].float()
    per_frame = clip[0, :, 0].numel() / SIZE
    with FlopCounterMode(display=False) as counter:
        network(clip, window.peaks[None], window.qp[None])
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16_instructions()):
        began = time.thread_time()
        for _ in range(2):
            network(clip, window.peaks[None], window.qp[None])
        spent = (time.thread_time() - began) / 2
    macs = counter.get_total_flops() / 2 / clip[0, :, 0].numel()
    return {"kmac_per_pixel": round(macs / 1e3, 1), "cpu_ms_per_frame": round(1e3 * spent / per_frame, 1)}


def judge(
    name: str, train: Sequence[Window], val: Sequence[Window], steps: int, seconds: float
) -> dict[str, Any]:
    """Train a design for both budgets and measure it."""
    network = started(name, train)
    # What is solved or trained before counts as the start.
    start = gains(network, val) if isinstance(network, GivenPictures) else None
    step, average = learner(network, Objective(name == "crds, intermediate"))
    result: dict[str, Any] = {
        "design": name,
        "start": start,
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    number, spent = 0, 0.0
    while number < steps or spent < seconds:
        began = time.thread_time()
        loss = step(number, batch_at(train, number, BATCH, FRAMES, CROP), number / steps)
        if not math.isfinite(loss):
            raise SystemExit(f"{name}: the loss is not a number at step {number}")
        number += 1
        before, spent = spent, spent + time.thread_time() - began
        if before < seconds <= spent:
            result["equal_time"] = {"steps": number, "seconds": round(spent), "gain": gains(average, val)}
        if number == steps:
            result["equal_steps"] = {"steps": number, "seconds": round(spent), "gain": gains(average, val)}
            first = [window for window in val if window.recipe == val[0].recipe]
            result["fed_single_frames"] = gains(average, first, single=True)
    return result | cost(average, val[0])


def main() -> None:
    """Judge the designs that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--data", type=Path, required=True, help="train/ and val/, each raw/ and lq/RECIPE/")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one a design, appended")
    parser.add_argument("--recipes", default="qp37,hm-ldp-qp37,rate-60k")
    parser.add_argument("--more", default="", help="further recipes that are learned from, not measured")
    parser.add_argument("--design", action="append", choices=DESIGNS, help="by default all")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--clips", type=int, help="only so many clips of each recipe")
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    recipes = given.recipes.split(",")
    learned = recipes + [name for name in given.more.split(",") if name]
    sets = []
    for part, names, size in (("train", learned, (KEPT, KEPT)), ("val", recipes, VIEW)):
        sources = find_sources(given.data / part, names)
        if given.clips:
            sources = [
                source for name in names for source in [s for s in sources if s.recipe == name][: given.clips]
            ]
        sets.append([cut_out(source, *size, draw if part == "train" else None) for source in sources])
    train, val = sets
    results = [{"design": "fast alone", "equal_steps": {"gain": gains(None, val)}}]
    for name in given.design or DESIGNS:
        results.append(judge(name, train, val, given.steps, 60 * given.minutes))
        with given.out.open("a") as lines:
            lines.write("".join(json.dumps(result) + "\n" for result in results))
        results = []


if __name__ == "__main__":
    main()
