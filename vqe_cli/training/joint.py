"""Both stages as one network: for their last, common training (SPEC section 8), or for stage II alone."""

from typing import Any

from torch import Tensor, nn

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
