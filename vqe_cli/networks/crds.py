"""CRDS (arXiv 2405.06342): compressed video is enhanced by propagating what degradation took away.

An encoder gives each frame's latent. Block by block, multi-frame neighbourhood attention predicts each
latent from neighbouring frames; what the prediction misses is the residual, which is propagated through time
and added to the prediction: latents of better and better quality. A light decoder turns the first and the
last latent of a frame into what must be added to its picture.

Equation numbers are the paper's. What it does not tell was chosen here and is marked "ours".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.flow import SpyNet, flow_warp
from vqe_cli.networks.layers import FeatureModulation, ResidualBlocks, kaiming_conv, pad_to_multiple
from vqe_cli.networks.muna import MuNA, Reference
from vqe_cli.networks.propagation import Visit, choose, nearest_peak, plan_visits


class Encoder(nn.Module):
    """E: pictures (N, 3, H, W) to latents (N, C, H / stride, W / stride).

    Ours: pictures folded by pixel-unshuffle, a convolution and residual blocks.
    """

    def __init__(self, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.body = ResidualBlocks(3 * stride**2, channels, blocks)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.body(F.pixel_unshuffle(pictures, self.stride))


class Decoder(nn.Module):
    """D (6, 7): the residual between two pictures, from the latents of the worse and of the better one.

    Ours: both latents and their difference side by side, a convolution, residual blocks and a pixel shuffle;
    no residual at the start.
    """

    def __init__(self, channels: int, blocks: int, enlargement: int) -> None:
        super().__init__()
        self.enlargement = enlargement
        self.body = ResidualBlocks(2 * channels, channels, blocks)
        self.last = kaiming_conv(channels, 3 * enlargement**2, gain=0.0)

    def forward(self, worse: Tensor, better: Tensor) -> Tensor:
        """(N, 3, enlargement * h, enlargement * w) from two latents (N, C, h, w)."""
        features = self.body(torch.cat([worse, better - worse], dim=1))
        return F.pixel_shuffle(self.last(features), self.enlargement)


class LatentAutoEncoder(nn.Module):
    """LDR-AE, what CRDS's encoder and decoder learn as before anything else: the residual between two
    pictures.

    Settings as of `CRDS`, which starts from its weights: the names of `encoder` and `decoder` are the same.
    """

    is_video = False
    scale = 1

    def __init__(
        self, channels: int = 64, encoder_blocks: int = 5, decoder_blocks: int = 2, feature_stride: int = 2
    ) -> None:
        super().__init__()
        if feature_stride not in (1, 2, 4):
            raise ValueError(f"feature_stride is 1, 2 or 4, not {feature_stride}")
        self.multiple = feature_stride
        self.encoder = Encoder(channels, encoder_blocks, feature_stride)
        self.decoder = Decoder(channels, decoder_blocks, feature_stride)

    def forward(self, worse: Tensor, better: Tensor | None = None) -> Tensor:
        """`worse` (N, 3, H, W) plus what its latent and that of `better` say must be added (6, 7, 10).

        Without a better picture nothing should be added: what comes out is then what a fresh CRDS gives.
        """
        height, width = worse.shape[-2:]
        padded = pad_to_multiple(worse, self.multiple)
        low = self.encoder(padded)
        high = low if better is None else self.encoder(pad_to_multiple(better, self.multiple))
        return worse + self.decoder(low, high)[..., :height, :width].to(worse.dtype)


class ResidualPropagation(nn.Module):
    """Φ (14, 15): what is added to a prediction, from its residual and from the frame visited before.

    Ours: the state is warped along the flow, joined with the residual and the latent, and passes residual
    blocks; the special residual connection is that the residual itself is kept, so that a fresh block leaves
    latents as they are.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.body = ResidualBlocks(3 * channels, channels, blocks)
        self.last = kaiming_conv(channels, channels, gain=0.0)

    def forward(
        self, residuals: Sequence[Tensor], latents: Sequence[Tensor], visits: Sequence[Visit]
    ) -> list[Tensor]:
        """Φ of each residual (N, C, h, w); all in the order of the visits."""
        state = torch.zeros_like(residuals[0])
        done = []
        for index, (residual, latent) in enumerate(zip(residuals, latents, strict=True)):
            if index:
                state = flow_warp(state, visits[index - 1].flow_1)
            state = self.body(torch.cat([residual, latent, state], dim=1))
            done.append(residual + self.last(state))
        return done


class CRDSBlock(nn.Module):
    """One step of quality: predictions by MuNA, their residuals propagated in one direction of time."""

    def __init__(self, channels: int, blocks: int, references: int, candidates: int, heads: int) -> None:
        super().__init__()
        self.references = references
        self.muna = MuNA(channels, references, candidates, heads)
        self.propagation = ResidualPropagation(channels, blocks)

    def forward(self, latents: list[Tensor], there: list[Visit], back: list[Visit]) -> list[Tensor]:
        """Better latents of T frames, (N, C, h, w) each, in the order in which residuals travel.

        there: how each frame after the first leads to the one before it in that order; back: the same of the
        opposite order.
        """
        predictions = self.predictions(latents, there, back)
        residuals = [latent - predicted for latent, predicted in zip(latents, predictions, strict=True)]
        propagated = self.propagation(residuals, latents, there)
        return [predicted + change for predicted, change in zip(predictions, propagated, strict=True)]

    def predictions(self, latents: list[Tensor], there: list[Visit], back: list[Visit]) -> list[Tensor]:
        """MuNA's x̄ of every frame, from itself, both neighbours and, where asked for, the nearest peak."""
        count = len(latents)
        behind = back[::-1]
        second = latents[0]
        found = []
        for index, latent in enumerate(latents):
            references = [Reference(latent, None)]
            references.append(
                Reference(latents[index - 1], there[index - 1].flow_1) if index else Reference(latent, None)
            )
            references.append(
                Reference(latents[index + 1], behind[index].flow_1)
                if index + 1 < count
                else Reference(latent, None)
            )
            if self.references == 4:
                renew = there[index - 1].renew if index else None
                if renew is None:
                    references.append(Reference(latent, None))
                else:
                    second = choose(renew, latents[index - 2], second)
                    references.append(Reference(second, there[index - 1].flow_2))
            found.append(self.muna(latent, references))
        return found


class CRDS(nn.Module):
    """Enhancement of a clip by compression-restoring degradation-aware residual propagation.

    channels: C. steps: N blocks, whose residuals travel backward and forward in turn. encoder_blocks,
    decoder_blocks, propagation_blocks: residual blocks of E, D and each Φ. candidates: k of MuNA's window;
    heads of its attention. feature_stride: pixels per latent, 1, 2 or 4 (x1; with `scale` above 1 it is 1).
    flow_stride: pixels per flow vector at which SpyNet looks. scale: 1, 2 or 4. peaks: whether the nearest
    peak quality frame in the direction of propagation is a fourth reference (ours). qp_conditioning: whether
    the QP modulates latents (ours). Raises ValueError for settings that contradict each other.
    """

    is_video = True

    def __init__(
        self,
        channels: int = 64,
        steps: int = 4,
        encoder_blocks: int = 5,
        decoder_blocks: int = 2,
        propagation_blocks: int = 7,
        candidates: int = 9,
        heads: int = 4,
        feature_stride: int = 2,
        flow_stride: int = 4,
        scale: int = 1,
        peaks: bool = False,
        qp_conditioning: bool = False,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale is 1, 2 or 4, not {scale}")
        if feature_stride not in (1, 2, 4) or flow_stride not in (1, 2, 4):
            raise ValueError(f"strides are 1, 2 or 4, not {feature_stride} and {flow_stride}")
        if steps < 1:
            raise ValueError(f"steps is at least 1, not {steps}")
        self.scale = scale
        self.feature_stride = feature_stride
        self.flow_stride = flow_stride
        self.multiple = max(feature_stride, flow_stride)
        self.peaks = peaks
        self.encoder = Encoder(channels, encoder_blocks, feature_stride)
        self.decoder = Decoder(channels, decoder_blocks, feature_stride * scale)
        self.modulation = FeatureModulation(channels) if qp_conditioning else None
        self.spynet = SpyNet()
        references = 4 if peaks else 3
        self.blocks = nn.ModuleList(
            CRDSBlock(channels, propagation_blocks, references, candidates, heads) for _ in range(steps)
        )

    def forward(
        self,
        clip: Tensor,
        pqf: Tensor | None = None,
        qp: Tensor | None = None,
        keep: slice = slice(None),
    ) -> Tensor:
        """clip (N, T, 3, H, W), RGB in [0, 1], to (N, T', 3, scale * H, scale * W), of the frames in `keep`.

        pqf (N, T): which frames are peaks, None for none. qp (N, T): NaN where unknown, or None.
        """
        levels = self.latents(clip, pqf, qp)
        return self.decoded(clip, levels[0], levels[-1], keep)

    def latents(
        self, clip: Tensor, pqf: Tensor | None = None, qp: Tensor | None = None
    ) -> list[list[Tensor]]:
        """x^N … x^0: for every level of quality the latents of T frames, (N, C, h, w) each."""
        padded = pad_to_multiple(clip, self.multiple)
        frames = padded.unbind(1)
        qps = [None] * len(frames) if qp is None else list(qp.unbind(1))
        first = [self.encoded(frame, level) for frame, level in zip(frames, qps, strict=True)]
        forward, backward = self.visits(padded, pqf, (first[0].shape[-2], first[0].shape[-1]))
        levels = [first]
        for number, block in enumerate(self.blocks):
            if number % 2 == 0:
                levels.append(block(levels[-1][::-1], backward, forward)[::-1])
            else:
                levels.append(block(levels[-1], forward, backward))
        return levels

    def encoded(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        """E of padded pictures (N, 3, H, W)."""
        latent = self.encoder(frames)
        return latent if self.modulation is None else self.modulation(latent, qp)

    def decoded(
        self, clip: Tensor, worse: Sequence[Tensor], better: Sequence[Tensor], keep: slice = slice(None)
    ) -> Tensor:
        """The clip's frames in `keep` with D's residual between two levels of latents added (10, 16, 17)."""
        height, width = clip.shape[-2:]
        pictures = []
        for frame, low, high in list(zip(clip.unbind(1), worse, better, strict=True))[keep]:
            residual = self.decoder(low, high)[..., : height * self.scale, : width * self.scale]
            if self.scale > 1:
                frame = F.interpolate(frame, scale_factor=self.scale, mode="bicubic", align_corners=False)
            pictures.append(frame + residual.to(frame.dtype))
        return torch.stack(pictures, dim=1)

    def visits(
        self, padded: Tensor, pqf: Tensor | None, size: tuple[int, int]
    ) -> tuple[list[Visit], list[Visit]]:
        """How frames of a padded clip lead to the one before (forward in time) and behind (backward)."""
        peaks = torch.zeros(padded.shape[:2], dtype=torch.bool) if pqf is None else pqf.to("cpu", torch.bool)
        to_previous, to_next = self.spynet.flows_on_grid(padded, self.flow_stride, size)
        forward = plan_visits(to_previous, nearest_peak(peaks))
        backward = plan_visits(to_next.flip(1), nearest_peak(peaks.flip(1)))
        return forward, backward
