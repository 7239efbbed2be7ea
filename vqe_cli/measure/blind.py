"""What can be said without a truth: of a picture itself, and of what changed between input and output."""

import numpy as np

from vqe_cli.measure.pictures import PairView, View


def blockiness(view: View) -> float | None:
    """How much larger steps of luma are at borders of blocks than inside them; 1 where blocks do not show.

    B / A of Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images"
    (ICIP 2002), mean over rows and columns: B is the mean absolute difference of neighbours across borders, A
    that of all others. Blocks are 8x8, the grid of HEVC's transforms and of its deblocking filter; in
    pictures that were enlarged they are larger by as much. None for flat pictures and those without a border.
    """
    luma = view.luma[0].numpy()
    ratios = []
    for picture in (luma, luma.T):
        steps = np.abs(np.diff(picture, axis=1)).mean(axis=0, dtype=np.float64)
        at_border = (np.arange(len(steps)) + view.crop_px + 1) % view.block_px == 0
        if not at_border.any() or at_border.all() or not steps[~at_border].mean():
            return None
        ratios.append(steps[at_border].mean() / steps[~at_border].mean())
    return float(sum(ratios) / 2)


def clipped_percent(view: View) -> float:
    """Percentage of the 8-bit RGB samples that are 0 or 255: what is lost in black and white."""
    return 100 * float(((view.rgb24 == 0) | (view.rgb24 == 255)).mean())


def changed_percent(pair: PairView) -> float:
    """Percentage of the samples that differ: of all planes' codes, of 8-bit RGB where these do not match."""
    planes = [pair.codes(index) for index in range(len(pair.gt.planes))]
    known = [(each[0], each[1]) for each in planes if each is not None]
    if len(known) < len(planes) or not known:
        known = [(pair.gt.rgb24, pair.pred.rgb24)]
    return 100 * sum(int((one != other).sum()) for one, other in known) / sum(one.size for one, _ in known)


class FlickerMetric:
    """How much more a picture differs from the one before than the reference does.

    Mean absolute difference of luma between consecutive pictures, less that of the reference (truth or
    input), on the scale 0 … 255: above 0 it flickers or crawls more, below 0 it is calmer.
    """

    source = ""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._values: list[float | None] = []

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames; the first has no value."""
        now = pair.gt.luma[0].numpy(), pair.pred.luma[0].numpy()
        if self._before is None:
            self._values.append(None)
        else:
            moved, more = (np.abs(one - two).mean() for one, two in zip(self._before, now, strict=True))
            self._values.append(float(more - moved))
        self._before = now

    def close(self) -> list[float | None]:
        """One value for each pair pushed."""
        return self._values

    def discard(self) -> None:
        """Nothing is held."""
