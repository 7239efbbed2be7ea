"""BasicVSR++ (Chan et al., CVPR 2022) and its variant whose second-order neighbour is a peak quality frame.

Two layouts around one recurrent core: the public one, and one grown from a trained single-frame network.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.bounds import check_settings
from models.grown import LEAST_CHANNELS, RECONSTRUCTION_CHANNELS, SPATIAL_CHANNELS, GrownLayout
from models.layers import FeatureModulation, PixelShuffleUp, ResidualBlocks
from models.propagation import BRANCHES, RecurrentCore, nearest_peak
from models.qecnn import QECNN

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
    reconstruction_channels: int | None = None,
) -> RecurrentCore:
    """BasicVSR++. The first five settings are those of the reference; the others are off unless given.

    is_low_res_input: True for x2 and x4 (`scale`, 4 unless said), False for x1. feature_stride: pixels per
    feature, 1, 2 or 4 (default 4 for x1, else 1). flow_stride: pixels per flow vector (default 4 for x1,
    else 1). prop_channels: of the propagated features (default mid_channels). spatial: settings of the QECNN
    that the network is grown from (`grown.GrownLayout`), whose scale then holds; its features have the
    output's size, its flows 4 pixels, and 12 propagated channels are the least and the default.
    reconstruction_channels: of a grown network's residual blocks (default 64). Raises ValueError for settings
    that contradict each other.
    """
    trunk = None
    if spatial is not None:
        check_spatial(spatial)
        trunk = QECNN(**spatial)
        found = {"mid_channels": SPATIAL_CHANNELS, "scale": trunk.scale, "feature_stride": 1}
        asked = {"mid_channels": mid_channels, "scale": scale, "feature_stride": feature_stride}
        for key, value in asked.items():
            if value not in (None, found[key]):
                raise ValueError(f"{key} is {value}, but {found[key]} in the spatial network")
        mid_channels, scale, feature_stride = found.values()
        prop_channels = prop_channels or LEAST_CHANNELS
        if prop_channels < LEAST_CHANNELS:
            raise ValueError(
                f"prop_channels is {prop_channels}, but a grown network carries {LEAST_CHANNELS} or more"
            )
        is_low_res_input = scale > 1
    scale = scale or (4 if is_low_res_input else 1)
    feature_stride = feature_stride or (1 if is_low_res_input else 4)
    if scale not in ((2, 4) if is_low_res_input else (1,)):
        raise ValueError(f"scale {scale} does not go with is_low_res_input={is_low_res_input}")
    if feature_stride not in ((1,) if is_low_res_input else (1, 2, 4)):
        raise ValueError(f"feature_stride {feature_stride} does not go with scale {scale}")
    core = {
        "mid_channels": mid_channels or 64,
        "prop_channels": prop_channels or mid_channels or 64,
        "num_blocks": num_blocks,
        "max_residue_magnitude": max_residue_magnitude,
        "deform_groups": deform_groups,
        "scale": scale,
        "feature_stride": feature_stride,
        "flow_stride": flow_stride or (4 if trunk or not is_low_res_input else 1),
    }
    if trunk is None:
        if reconstruction_channels is not None:
            raise ValueError("reconstruction_channels is for networks that are grown from a spatial one")
        return PublicLayout(reconstruction_blocks, is_low_res_input, qp_conditioning, **core)
    if not isinstance(reconstruction_blocks, int):
        raise ValueError("reconstruction_blocks is one number where the network is grown from a spatial one")
    width = reconstruction_channels or RECONSTRUCTION_CHANNELS
    return GrownLayout(trunk, reconstruction_blocks, width, **core)


def check_spatial(spatial: Mapping[str, Any]) -> None:
    """Raises ValueError for what no setting of a QECNN is."""
    unknown = spatial.keys() - inspect.signature(QECNN).parameters.keys()
    if unknown:
        raise ValueError(f"spatial has the setting {str(min(unknown, key=str))[:60]!r}, which QECNN has not")
    check_settings(QECNN, spatial)


@functools.wraps(basicvsrpp)
def pqf_basicvsrpp(**settings: Any) -> RecurrentCore:
    """BasicVSR++ whose second-order neighbour is the nearest peak quality frame (SPEC section 4)."""
    net = basicvsrpp(**settings)
    net.neighbour_rule = nearest_peak
    return net
