"""Measuring while training: the RGB-PSNR gain over the compressed input, clip by clip."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.training.data import Pair, clip_rgb


def psnr(prediction: Tensor, target: Tensor) -> float:
    """Mean over frames of the RGB-PSNR (dB, peak 1) of two (T, 3, H, W)."""
    errors = (prediction.clamp(0, 1) - target.clamp(0, 1)).double().square().mean(dim=(1, 2, 3))
    return sum(-10 * math.log10(max(float(e), 1e-10)) for e in errors) / len(errors)


@torch.inference_mode()
def gains(
    network: nn.Module,
    pairs: Iterable[Pair],
    frame_step: int,
    device: torch.device,
    stage_one: nn.Module | None = None,
) -> dict[tuple[str, str], float]:
    """Gain in dB of each (recipe, clip): enhanced against compressed, every `frame_step`-th frame.

    Image networks see only these frames; video networks the clip's first 25 frames.
    """
    result = {}
    for pair in pairs:
        window = slice(0, 25) if network.is_video or stage_one is not None else slice(0, None, frame_step)
        lq, gt = clip_rgb(pair.lq, window, device), clip_rgb(pair.gt, window, device)
        qp = torch.from_numpy(pair.lq.qp[window]).to(device)
        pqf = torch.from_numpy(pair.lq.pqf[window]).to(device)
        enhanced = lq if stage_one is None else _run(stage_one, lq, pqf, qp).float()
        enhanced = _run(network, enhanced, pqf, qp)
        if enhanced.shape != lq.shape:
            lq = F.interpolate(lq, size=gt.shape[-2:], mode="bicubic", align_corners=False)
        result[pair.recipe, pair.lq.name] = psnr(enhanced.float(), gt) - psnr(lq, gt)
    return result


def _run(network: nn.Module, clip: Tensor, pqf: Tensor, qp: Tensor) -> Tensor:
    """A network on one clip (T, 3, H, W); image networks frame by frame, which bounds the memory."""
    if network.is_video:
        return network(clip[None], pqf[None], qp[None])[0]
    return torch.cat([network(frame[None], level[None]) for frame, level in zip(clip, qp, strict=True)])


def mean_by_recipe(by_clip: dict[tuple[str, str], float]) -> dict[str, float]:
    """Mean gain of each recipe over its clips, in dB."""
    recipes = sorted({recipe for recipe, _ in by_clip})
    return {r: sum(g for (q, _), g in by_clip.items() if q == r) / sum(q == r for q, _ in by_clip) for r in recipes}
