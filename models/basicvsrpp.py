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

# Features of a trained QECNN have a standard deviation of about 0.05. The branches get them at about 1, and
# what they find is added in small steps: at the trunk's own scale each step of Adam disturbs it by more than
# there is to gain, and the branches are unlearned (after 1,100 steps their features had shrunk to a tenth).
FEATURE_GAIN = 16.0
FUSION_STEP = 0.2
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
    """The branches inside a single-frame network, which alone it equals until it has been trained further.

    trunk: the single-frame network; its head and first `split` blocks give the spatial features, a
    convolution that starts at zero adds what the branches found, its other blocks and its tail make the
    picture.
    """

    def __init__(self, trunk: QECNN, split: int, fusion_kernel: int, **core: Any) -> None:
        super().__init__(**core)
        self.trunk = trunk
        self.split = split
        joined = self.mid_channels + len(BRANCHES) * self.prop_channels
        self.fusion = nn.Conv2d(joined, self.mid_channels, fusion_kernel, padding=fusion_kernel // 2)
        for parameter in self.fusion.parameters():
            nn.init.zeros_(parameter)
        for branch in BRANCHES:
            start_as_mean(self.deform_align[branch].get_parameter("weight"), self.prop_channels)

    def extract(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        return FEATURE_GAIN * self.trunk.features(frames, self.trunk.code(qp, len(frames)), self.split)

    def reconstruct(self, features: Tensor, frames: Tensor, qp: Tensor | None) -> Tensor:
        code = self.trunk.code(qp, len(frames))
        x = (features[:, : self.mid_channels] + FUSION_STEP * self.fusion(features)) / FEATURE_GAIN
        for block in self.trunk.body[self.split :]:
            x = block(x, code)
        return self.trunk.finish(x, frames)


@torch.no_grad()
def start_as_mean(weight: Tensor, channels: int) -> None:
    """Let an alignment (its weights) start as a fading mean along the motion.

    Half of the first-order neighbour and a third of the second-order one: random weights would scatter what
    is carried from frame to frame before anything is learned.
    """
    weight.mul_(0.1)
    diagonal = torch.arange(channels)
    # The masks start at one half.
    weight[diagonal, diagonal, 1, 1] += 2 / 2
    weight[diagonal, channels + diagonal, 1, 1] += 2 / 3


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
    spatial_split: int | None = None,
    fusion_kernel: int = 3,
) -> RecurrentCore:
    """BasicVSR++. The first five settings are those of the reference; the others are off unless given.

    is_low_res_input: True for x2 and x4 (`scale`, 4 unless said), False for x1. feature_stride: pixels per
    feature, 1, 2 or 4 (default 4 for x1, else 1). flow_stride: pixels per flow vector (default 4 for x1,
    else 1). prop_channels: of the propagated features (default mid_channels). spatial: settings of the
    QECNN that the network is grown from, whose channels, fold and scale then hold; spatial_split: its
    blocks before the branches (default half); fusion_kernel: 1 or 3. Raises ValueError for settings that
    contradict each other.
    """
    trunk = None
    if spatial is not None:
        trunk = QECNN(**spatial)
        found = {
            "mid_channels": trunk.head.out_channels,
            "scale": trunk.scale,
            "feature_stride": trunk.multiple,
        }
        asked = {"mid_channels": mid_channels, "scale": scale, "feature_stride": feature_stride}
        for key, value in asked.items():
            if value not in (None, found[key]):
                raise ValueError(f"{key} is {value}, but {found[key]} in the spatial network")
        mid_channels, scale, feature_stride = found.values()
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
    split = len(trunk.body) // 2 if spatial_split is None else spatial_split
    return GrownLayout(trunk, split, fusion_kernel, **core)


@functools.wraps(basicvsrpp)
def pqf_basicvsrpp(**settings: Any) -> RecurrentCore:
    """BasicVSR++ whose second-order neighbour is the nearest peak quality frame (SPEC section 4)."""
    net = basicvsrpp(**settings)
    net.neighbour_rule = nearest_peak
    return net
