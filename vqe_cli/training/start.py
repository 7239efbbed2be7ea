"""The network at the start of a run: fresh, around a single-frame one, from weights that fit as a whole or in
part, behind a trained stage I, or with a blend of neighbours that is solved by least squares.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.networks.flow import SpyNet
from vqe_cli.networks.layers import ModulatedBlock, ResidualBlock, ResidualBlocks
from vqe_cli.networks.motion_fusion import BLEND_STEP, FORMS, RING, MotionFusion
from vqe_cli.training import checkpoint
from vqe_cli.training.data import Batch
from vqe_cli.training.flow import motion_filters
from vqe_cli.training.schedule import LEAST_ERROR
from vqe_cli.training.schema import TrainConfig
from vqe_cli.weights.load import load_network, read_header
from vqe_cli.weights.registry import StageSpec

# Beginnings of the parameters' names. In network.frozen those of stage II go by their own names.
STAGE_ONE, STAGE_TWO = "stage_one.", "stage_two."


class Joint(nn.Module):
    """Stage II on the output of stage I, frame by frame; gradients reach both, as far as they are not frozen.

    first_built: architecture and configuration of stage I, for its file.
    """

    is_video = True

    def __init__(
        self, stage_one: nn.Module, stage_two: nn.Module, first_built: tuple[str, dict[str, Any]]
    ) -> None:
        super().__init__()
        self.first_built = first_built
        self.stage_one = stage_one
        self.stage_two = stage_two
        self.scale = int(stage_one.scale) * int(stage_two.scale)  # type: ignore[arg-type]
        self.multiple = stage_one.multiple

    def forward(
        self,
        clip: Tensor,
        pqf: Tensor | None = None,
        qp: Tensor | None = None,
        keep: slice = slice(None),
    ) -> Tensor:
        """clip (N, T, 3, H, W), pqf and qp (N, T) or None, to (N, K, 3, sH, sW), the frames `keep`."""
        levels = None if qp is None else qp[:, keep].flatten()
        if self.stage_one.is_video:
            enhanced = self.stage_one(clip, pqf, qp, keep).flatten(0, 1)
        else:
            enhanced = self.stage_one(clip[:, keep].flatten(0, 1), levels)
        return self.stage_two(enhanced, levels).unflatten(0, (len(clip), -1))


log = logging.getLogger("vqe.training")


LISTED = 12  # most names shown of tensors that start fresh


def build_network(config: TrainConfig, before: dict[str, Tensor] | None = None) -> nn.Module:
    """The network that a run starts with, float32, on the CPU.

    before: what the phase before ended with; it takes the place of what the config names.
    Raises VqeError for weights that cannot be read or of which nothing fits.
    """
    named = config.network
    network = networks.build(named.arch, named.config)
    if isinstance(network, SpyNet):
        motion_filters(network)
    if named.flow and checkpoint.load_fitting(
        network.get_submodule("spynet"), checkpoint.read_weights(Path(named.flow))
    ):
        raise VqeError(
            f"{named.flow} is not a flow network of this shape.", "Train it with train-stage flow."
        )
    whole: nn.Module = network
    if named.joint:
        whole = with_stage_one(network, Path(named.joint))
    if before is not None:
        continue_from(whole if any(key.startswith(STAGE_ONE) for key in before) else network, before)
    elif named.grow_from:
        grow(network, checkpoint.read_weights(Path(named.grow_from)), named.grow_from)
    elif named.init:
        zero_init(network, take_over(network, checkpoint.read_weights(Path(named.init)), named.init))
    for name, parameter in whole.named_parameters():
        if name.removeprefix(STAGE_TWO).startswith(named.frozen):
            parameter.requires_grad_(False)
    return whole


def continue_from(network: nn.Module, before: dict[str, Tensor]) -> None:
    """Start a phase with what the one before ended with: the same network, a smaller or a spatial one."""
    single = not any(key.startswith("spatial.") for key in before)
    if isinstance(network, MotionFusion) and single:
        grow(network, before, "the phase before")
    else:
        zero_init(network, take_over(network, before, "the phase before"))


def with_stage_one(network: nn.Module, path: Path) -> Joint:
    """Stage II behind the stage I of a file, both to be trained."""
    stage_one = load_network(StageSpec(str(path.absolute()))).train().requires_grad_(True)
    header = read_header(path)
    return Joint(stage_one, network, (header.arch, header.config))


def grow(network: nn.Module, spatial: dict[str, Tensor], name: str) -> None:
    """Make a trained single-frame network that of `network`, which then computes what that one does."""
    assert isinstance(network, MotionFusion)
    try:
        network.spatial.load_state_dict(spatial)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise VqeError(
            f"{name} is not the single-frame network that this one grows from ({reason}).",
            "network.config.spatial must be the config that it was trained with.",
        ) from error


def take_over(network: nn.Module, tensors: dict[str, Tensor], name: str) -> list[str]:
    """Copy what fits, tell what does not, and give the names of what starts fresh."""
    own = network.state_dict()
    tensors = regrouped(tensors, own)
    fresh = checkpoint.load_fitting(network, tensors)
    if len(fresh) == len(own):
        raise VqeError(f"nothing in {name} fits the network.", "Name weights of the same architecture.")
    unused = sorted(key for key in tensors if key not in own)
    misfits = [
        f"{key} {tuple(tensors[key].shape)}, not {tuple(own[key].shape)}" for key in fresh if key in tensors
    ]
    log.info("%d of %d tensors are from %s", len(own) - len(fresh), len(own), name)
    for what, names in (
        ("start fresh", [key for key in fresh if key not in tensors]),
        ("are of another shape and start fresh", misfits),
        ("are not in this network", unused),
    ):
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            log.info("%d %s: %s%s", len(names), what, ", ".join(names[:LISTED]), more)
    return fresh


def regrouped(tensors: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A public network's reconstruction, which is one group of blocks, as the first of a row of groups, where
    `own` has a row (SPEC section 4)."""
    one, first = "reconstruction.main.", "reconstruction.0.main."
    if not any(key.startswith(first) for key in own):
        return tensors
    return {
        first + key.removeprefix(one) if key.startswith(one) else key: value for key, value in tensors.items()
    }


@torch.no_grad()
def zero_init(network: nn.Module, fresh: list[str]) -> None:
    """Let blocks that were added to trained ones change nothing at first, as far as their form allows.

    Residual blocks end in zeros; the input convolution of an added group is the identity (its activation
    still damps negative features, which the paper's groups in a row ask for).
    """
    names = set(fresh)

    def is_fresh(prefix: str, module: nn.Module) -> bool:
        return all(f"{prefix}.{name}" in names for name, _ in module.named_parameters())

    for prefix, module in network.named_modules():
        if isinstance(module, ResidualBlock | ModulatedBlock) and is_fresh(prefix, module):
            module.conv2.weight.zero_()
        elif isinstance(module, ResidualBlocks) and is_fresh(prefix, module):
            conv = module.main[0]
            if isinstance(conv, nn.Conv2d) and conv.in_channels == conv.out_channels:
                nn.init.dirac_(conv.weight)
                assert conv.bias is not None
                nn.init.zeros_(conv.bias)


MARGIN = 8  # pixels from the border of a crop within which motion is not found
STRIDE = 4  # pixels between those that give an equation, both ways
RIDGE = 1e-3  # of the mean square of the inputs: what generalises best, and keeps weights small


@torch.no_grad()
def fit_blend(network: MotionFusion, batches: Iterable[Batch], bf16: bool, keep: slice = slice(None)) -> None:
    """Set the weights of `network.blend` to those that bring its output nearest to the truth of `batches`.

    Every picture of the frames `keep` counts by the error of the whole picture, as in the "psnr" loss. Logs
    the gain on these batches in dB.
    """
    device = network.blend.weight.device
    unknowns = network.blend.weight.numel()
    products = torch.zeros(unknowns, unknowns, device=device)
    targets = torch.zeros(unknowns, device=device)
    before = torch.zeros((), device=device)
    pictures = 0
    recorded: list[tuple[Tensor, ...]] = []
    hook = network.blend.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs))
    network.eval()
    network.blend.weight.zero_()
    for batch in batches:
        recorded.clear()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = network(batch.lq, batch.pqf, batch.qp, keep).float()
        lacking = (batch.gt[:, keep] - output).unbind(1)
        for inputs, wanted, size in zip(recorded, lacking, batch.errors[:, keep].unbind(1), strict=True):
            for *known, right, error in zip(*inputs, wanted, size, strict=True):
                columns = equations(*known)
                rights = inside(right).flatten()
                weighed = columns / (len(rights) * (error + LEAST_ERROR))
                products += weighed @ columns.T
                targets += weighed @ rights
                before += rights.square().mean() / (error + LEAST_ERROR)
                pictures += 1
    hook.remove()
    network.train()
    ridge = RIDGE * products.diagonal().mean()
    weights = torch.linalg.solve(products + ridge * torch.eye(unknowns, device=device), targets)
    explained = float((weights * targets).sum() / before) if pictures else 0.0
    log.info("blend solved from %d pictures: %+.3f dB on them", pictures, -10 * math.log10(1 - explained))
    network.blend.weight.copy_((weights / BLEND_STEP).view_as(network.blend.weight))


def equations(differences: Tensor, level: Tensor, worse: Tensor, active: Tensor) -> Tensor:
    """What each weight of the blend is multiplied by in one picture: (weights, 3 * pixels) of the inputs of
    `vqe_cli.networks.motion_fusion.Blend`, without their first dimension."""
    rings = torch.stack([torch.tensor(RING, device=differences.device) == ring for ring in range(3)])
    images = differences.float().flatten(0, 1)[:, None]
    sums = inside(F.conv2d(images, rings[:, None].float(), padding=1)).unflatten(0, differences.shape[:2])
    always = sums.permute(0, 2, 1, 3, 4).flatten(2)  # (differences, rings, 3 * pixels)
    by_worse = worse.repeat(FORMS)[:, None, None] * always
    features = torch.stack([always, by_worse])
    features = torch.stack([features, level * features])
    activity = inside(active.expand(3, -1, -1)).flatten()
    return torch.stack([features, activity * features]).flatten(0, -2)


def inside(pictures: Tensor) -> Tensor:
    """The places of pictures (..., H, W) that give equations."""
    return pictures[..., MARGIN:-MARGIN:STRIDE, MARGIN:-MARGIN:STRIDE].float()
