"""BasicVSR++ (Chan et al., CVPR 2022) and its variant whose second-order neighbour is a peak quality frame.

Two layouts around one recurrent core: the public one, and one grown from a trained single-frame network.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import FeatureModulation, PixelShuffleUp, ResidualBlocks
from models.propagation import BRANCHES, RecurrentCore, nearest_peak
from models.qecnn import QECNN

# What an untrained branch of the grown layout carries: a running mean of pictures along the motion, of which
# this share comes from the frames visited before.
MEMORY = 0.5
# Enhanced neighbours differ by about 0.03 (of 1). The residual blocks want numbers of about 0.3 and give
# such, of which small steps are enough: else the optimizer disturbs more than there is to gain. The blend,
# whose input is small, needs weights of about 0.5: large steps.
DIFFERENCE_GAIN = 10.0
CORRECTION_STEP = 0.1
BLEND_STEP = 10.0
# Differences well above this come from wrong motion, and count less the larger they are.
PLAUSIBLE = 0.03
PICTURE_WIDTH = 64  # channels at full size, in the public networks whatever mid_channels is


class PublicLayout(RecurrentCore):
    """The networks of the paper, under the public keys: residual blocks in front, pixel shuffles behind.

    reconstruction_blocks: residual blocks behind the propagation, a number (one group) or a list (groups in
    a row, each with its own input convolution). qp_conditioning: whether the QP modulates the spatial
    features.
    """

    def __init__(
        self, reconstruction_blocks: int | Sequence[int], low_res: bool, qp_conditioning: bool, **core: Any
    ) -> None:
        super().__init__(**core)
        mid = self.mid_channels
        self.modulation = FeatureModulation(mid) if qp_conditioning else None
        self.feat_extract: nn.Module
        if low_res:
            self.feat_extract = ResidualBlocks(3, mid, 5)
        else:
            self.feat_extract = nn.Sequential(
                nn.Conv2d(3, mid, 3, stride=2 if self.feature_stride > 1 else 1, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(mid, mid, 3, stride=2 if self.feature_stride > 2 else 1, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
                ResidualBlocks(mid, mid, 5),
            )
        joined = mid + len(BRANCHES) * self.prop_channels
        self.reconstruction: nn.Module
        if isinstance(reconstruction_blocks, int):
            self.reconstruction = ResidualBlocks(joined, mid, reconstruction_blocks)
        else:
            self.reconstruction = nn.Sequential(
                *(
                    ResidualBlocks(mid if group else joined, mid, blocks)
                    for group, blocks in enumerate(reconstruction_blocks)
                )
            )
        enlargement = self.feature_stride * self.scale
        self.upsample1 = PixelShuffleUp(mid, mid) if enlargement == 4 else None
        self.upsample2 = PixelShuffleUp(mid, PICTURE_WIDTH) if enlargement >= 2 else None
        self.conv_hr = nn.Conv2d(PICTURE_WIDTH if enlargement >= 2 else mid, PICTURE_WIDTH, 3, padding=1)
        self.conv_last = nn.Conv2d(PICTURE_WIDTH, 3, 3, padding=1)

    def extract(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        features = self.feat_extract(frames)
        return features if self.modulation is None else self.modulation(features, qp)

    def reconstruct(self, features: Tensor, frames: Tensor, qp: Tensor | None) -> Tensor:
        x = self.reconstruction(features)
        for upsample in (self.upsample1, self.upsample2):
            if upsample is not None:
                x = F.leaky_relu(upsample(x), 0.1, inplace=True)
        x = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.1, inplace=True))
        if self.scale > 1:
            frames = F.interpolate(frames, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return frames + x


class GrownLayout(RecurrentCore):
    """The branches behind a trained single-frame network, which alone it equals until it is trained further.

    Untrained, each branch carries a running mean of the enhanced pictures along the motion, in its first
    channels: four weights for such neighbours gained 0.01 to 0.04 dB on six clips. How they differ from the
    frame at hand is what the correction is made of, by one convolution that starts at zero and by a
    network of `reconstruction_blocks` residual blocks. All that works at full size, because a folded
    picture cannot be moved by a fraction of its fold.

    trunk: the single-frame network.
    """

    def __init__(self, trunk: QECNN, reconstruction_blocks: int, **core: Any) -> None:
        super().__init__(**core)
        self.trunk = trunk
        self.fold = trunk.scale
        self.carried = min(3 * self.fold**2, self.prop_channels)
        width, found = self.prop_channels, len(BRANCHES) * self.prop_channels
        self.blend = nn.Conv2d(len(BRANCHES) * self.carried, 3 * self.fold**2, 3, padding=1)
        self.reconstruction = ResidualBlocks(self.mid_channels + found, width, reconstruction_blocks)
        self.conv_last = nn.Conv2d(width, 3 * self.fold**2, 3, padding=1)
        for parameter in (*self.blend.parameters(), *self.conv_last.parameters()):
            nn.init.zeros_(parameter)
        for branch in BRANCHES:
            start_as_mean(self.deform_align[branch], self.backbone[branch], self.carried)

    def extract(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        """The enhanced picture, folded to the input's size, then whether the QP is known, then the QP."""
        picture = F.pixel_unshuffle(self.trunk(frames, qp), self.fold)
        qp = frames.new_full(frames.shape[:1], float("nan")) if qp is None else qp.to(frames)
        level = torch.stack([(~qp.isnan()).to(qp), ((qp - 32) / 10).nan_to_num()], dim=1)
        return torch.cat([picture, level[..., None, None].expand(-1, -1, *picture.shape[-2:])], dim=1)

    def first_aligned(self, current: Tensor) -> Tensor:
        """The first frame stands in for the one before it: so the mean is one from the start."""
        missing = current.new_zeros(len(current), self.prop_channels - self.carried, *current.shape[-2:])
        return torch.cat([MEMORY * current[:, : self.carried], missing], dim=1)

    def reconstruct(self, features: Tensor, frames: Tensor, qp: Tensor | None) -> Tensor:
        current, found = features.split([self.mid_channels, len(BRANCHES) * self.prop_channels], dim=1)
        found = found.unflatten(1, (len(BRANCHES), self.prop_channels))
        means, rest = found.split([self.carried, self.prop_channels - self.carried], dim=2)
        means = means - current[:, None, : self.carried]
        plausible = means / (1 + (means / PLAUSIBLE).square())
        blended = BLEND_STEP * self.blend(plausible.flatten(1, 2))
        found = torch.cat([DIFFERENCE_GAIN * means, rest], dim=2).flatten(1, 2)
        rebuilt = CORRECTION_STEP * self.conv_last(self.reconstruction(torch.cat([current, found], dim=1)))
        correction = (blended + rebuilt).to(current.dtype)
        return F.pixel_shuffle(current[:, : 3 * self.fold**2] + correction, self.fold)


@torch.no_grad()
def start_as_mean(align: nn.Module, backbone: nn.Module, carried: int) -> None:
    """Let a branch start with a running mean of the first `carried` spatial features along the motion.

    The alignment keeps MEMORY of the frame visited before, the residual blocks add the rest from the frame
    at hand; both pass positive numbers unchanged. The other channels start at random, but weakly.
    """
    channels = torch.arange(carried)
    weight = align.get_parameter("weight").mul_(0.1)
    weight[:carried] = 0
    weight[channels, channels, 1, 1] = 2 * MEMORY  # the masks start at one half
    first, blocks = backbone.get_submodule("main.0"), backbone.get_submodule("main.2")
    first.get_parameter("weight")[:carried] = 0
    first.get_parameter("weight")[channels, channels, 1, 1] = 1 - MEMORY
    first.get_parameter("bias")[:carried] = 0
    for block in blocks.children():
        nn.init.zeros_(block.get_parameter("conv2.weight"))


def grow_from_spatial(net: GrownLayout, state: dict[str, Tensor]) -> None:
    """Copy a trained QECNN's weights into the spatial path, so that `net` computes what it computes.

    Raises RuntimeError when keys or shapes differ.
    """
    net.trunk.load_state_dict(state, strict=True)


def basicvsrpp(
    mid_channels: int | None = None,
    num_blocks: int = 7,
    max_residue_magnitude: float = 10,
    is_low_res_input: bool = True,
    reconstruction_blocks: int | Sequence[int] = 5,
    scale: int | None = None,
    feature_stride: int | None = None,
    flow_stride: int | None = None,
    prop_channels: int | None = None,
    deform_groups: int = 16,
    qp_conditioning: bool = False,
    spatial: Mapping[str, Any] | None = None,
) -> RecurrentCore:
    """BasicVSR++. The first five settings are those of the reference; the others are off unless given.

    is_low_res_input: True for x2 and x4 (`scale`, 4 unless said), False for x1. feature_stride: pixels per
    feature, 1, 2 or 4 (default 4 for x1, else 1). flow_stride: pixels per flow vector (default 4 for x1,
    else 1). prop_channels: of the propagated features (default mid_channels; 16 where the network is grown).
    spatial: settings of the QECNN that the network is grown from, whose scale then holds. Raises
    ValueError for settings that contradict each other.
    """
    trunk = None
    if spatial is not None:
        trunk = QECNN(**spatial)
        found = {"mid_channels": 3 * trunk.scale**2 + 2, "scale": trunk.scale, "feature_stride": 1}
        asked = {"mid_channels": mid_channels, "scale": scale, "feature_stride": feature_stride}
        for key, value in asked.items():
            if value not in (None, found[key]):
                raise ValueError(f"{key} is {value}, but {found[key]} in the spatial network")
        mid_channels, scale, feature_stride = found.values()
        prop_channels = prop_channels or 16
        is_low_res_input = scale > 1
    scale = scale or (4 if is_low_res_input else 1)
    feature_stride = feature_stride or (1 if is_low_res_input else 4)
    if scale not in ((2, 4) if is_low_res_input else (1,)):
        raise ValueError(f"scale {scale} does not go with is_low_res_input={is_low_res_input}")
    if feature_stride not in ((1, 2, 4) if trunk or not is_low_res_input else (1,)):
        raise ValueError(f"feature_stride {feature_stride} does not go with scale {scale}")
    core = {
        "mid_channels": mid_channels or 64,
        "prop_channels": prop_channels or mid_channels or 64,
        "num_blocks": num_blocks,
        "max_residue_magnitude": max_residue_magnitude,
        "deform_groups": deform_groups,
        "scale": scale,
        "feature_stride": feature_stride,
        "flow_stride": flow_stride or (1 if is_low_res_input else 4),
    }
    if trunk is None:
        return PublicLayout(reconstruction_blocks, is_low_res_input, qp_conditioning, **core)
    if not isinstance(reconstruction_blocks, int):
        raise ValueError("reconstruction_blocks is one number where the network is grown from a spatial one")
    return GrownLayout(trunk, reconstruction_blocks, **core)


@functools.wraps(basicvsrpp)
def pqf_basicvsrpp(**settings: Any) -> RecurrentCore:
    """BasicVSR++ whose second-order neighbour is the nearest peak quality frame (SPEC section 4)."""
    net = basicvsrpp(**settings)
    net.neighbour_rule = nearest_peak
    return net
