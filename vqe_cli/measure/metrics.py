"""The table of metrics: what `--metrics` takes, how each is computed and shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vqe_cli.errors import VqeError, did_you_mean
from vqe_cli.measure.blind import FlickerMetric, blockiness, changed_percent, clipped_percent
from vqe_cli.measure.filters import FilterMetric
from vqe_cli.measure.perceptual import CvvdpMetric, LpipsMetric, Ssimulacra2Metric
from vqe_cli.measure.pictures import PairView
from vqe_cli.measure.psnr_ssim import (
    SMALLEST_MS_SSIM_SIDE,
    SMALLEST_SSIM_SIDE,
    ms_ssim,
    picture_mse,
    plane_mse,
    psnr_of_mse,
    ssim_of_level,
)
from vqe_cli.measure.sets import SET_METRICS
from vqe_cli.measure.vmaf import JUDGES, VmafMetric

DEFAULT_METRICS = ("psnr", "psnr-y", "ssim", "ms-ssim")
# Without a truth; CAMBI besides, where there is a libvmaf.
CHANGE_METRICS = ("psnr", "changed", "blockiness", "clipped", "flicker")


class StreamMetric(Protocol):
    """A metric that takes the pairs in order: it looks at time, or works in another process."""

    @property
    def source(self) -> str:
        """The software and model that judge, with their versions; final after `close`."""

    def push(self, pair: PairView) -> None:
        """Take the next pair of frames."""

    def close(self) -> list[float | None]:
        """One value for each pair pushed."""

    def discard(self) -> None:
        """Give up, freeing what is held; harmless after `close`."""


@dataclass(frozen=True)
class Setup:
    """What stream metrics need to know: frames per second, and the user's LPIPS weights."""

    rate: float = 25.0
    lpips_weights: Path | None = None


@dataclass(frozen=True)
class Metric:
    """One metric: `measure` judges a pair alone, or `stream` opens a judge of pairs in order."""

    name: str
    """As `--metrics` takes it."""
    about: str
    """One line for `--help`."""
    measure: Callable[[PairView], float | None] | None = None
    """The value of a pair; None where it does not apply."""
    stream: Callable[[Setup], StreamMetric] | None = None
    """Opens a judge of pairs in order."""
    unit: str = ""
    """"dB" or ""."""
    decimals: int = 4
    """As shown in tables."""
    rising: bool = True
    """Higher is better."""
    alone: bool = False
    """It judges a picture by itself: the reference is not looked at."""
    harmonic: bool = False
    """Its harmonic mean and low frames are shown wherever it is: for VMAF, whose mean hides bad frames."""


def psnr_rgb(pair: PairView) -> float:
    """PSNR over the 8-bit RGB samples that FFmpeg makes of a frame: NTIRE's."""
    return psnr_of_mse(plane_mse(pair.gt.rgb24, pair.pred.rgb24))


def psnr_rgb_float(pair: PairView) -> float:
    """PSNR over RGB with chroma enlarged bilinearly in float, peak 255."""
    return psnr_of_mse(picture_mse(pair.gt.rgb, pair.pred.rgb))


def psnr_luma(pair: PairView) -> float:
    """PSNR of luma: of codes where both sides have them, peak 2^bit_depth - 1, as FFmpeg's filter."""
    of_codes = _psnr_plane(pair, 0)
    if of_codes is not None:
        return of_codes
    return psnr_of_mse(picture_mse(pair.gt.luma, pair.pred.luma))


def psnr_planes(pair: PairView) -> float | None:
    """PSNR over all samples of Y, U and V, as the average of FFmpeg's psnr filter."""
    planes = [pair.codes(index) for index in range(3)]
    known = [plane for plane in planes if plane is not None]
    if len(known) < 3:
        return None
    error = sum(plane_mse(gt, pred) * gt.size for gt, pred, _ in known)
    return psnr_of_mse(error / sum(gt.size for gt, _, _ in known), known[0][2])


def _psnr_plane(pair: PairView, index: int) -> float | None:
    codes = pair.codes(index)
    if codes is None:
        return None
    gt, pred, peak = codes
    return psnr_of_mse(plane_mse(gt, pred), peak)


def _ssim_rgb(pair: PairView) -> float | None:
    return ssim_of_level(pair.rgb_structure) if min(pair.size) >= SMALLEST_SSIM_SIDE else None


def _ssim_luma(pair: PairView) -> float | None:
    return ssim_of_level(pair.luma_structure) if min(pair.size) >= SMALLEST_SSIM_SIDE else None


def _ms_ssim_rgb(pair: PairView) -> float | None:
    if min(pair.size) < SMALLEST_MS_SSIM_SIDE:
        return None
    return ms_ssim(pair.gt.rgb, pair.pred.rgb, first=pair.rgb_structure)


def _ms_ssim_luma(pair: PairView) -> float | None:
    if min(pair.size) < SMALLEST_MS_SSIM_SIDE:
        return None
    return ms_ssim(pair.gt.luma, pair.pred.luma, first=pair.luma_structure)


def _filter(name: str, keys: tuple[str, ...]) -> Callable[[Setup], StreamMetric]:
    return lambda setup: FilterMetric(name, keys, setup.rate)


def _vmaf(name: str, about: str) -> Metric:
    about = f"{about} ({JUDGES[name].model})"
    return Metric(name, about, stream=lambda setup: VmafMetric(name, setup.rate), decimals=2, harmonic=True)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR over FFmpeg's 8-bit RGB, as NTIRE measures", psnr_rgb, unit="dB", decimals=3),
        Metric(
            "psnr-rgb-float",
            "PSNR over RGB with chroma enlarged in float",
            psnr_rgb_float,
            unit="dB",
            decimals=3,
        ),
        Metric("psnr-y", "PSNR of luma codes", psnr_luma, unit="dB", decimals=3),
        Metric("psnr-u", "PSNR of U codes", lambda pair: _psnr_plane(pair, 1), unit="dB", decimals=3),
        Metric("psnr-v", "PSNR of V codes", lambda pair: _psnr_plane(pair, 2), unit="dB", decimals=3),
        Metric("psnr-yuv", "PSNR over all Y, U and V codes", psnr_planes, unit="dB", decimals=3),
        Metric("ssim", "SSIM over RGB, Gaussian window", _ssim_rgb),
        Metric("ssim-y", "SSIM of luma", _ssim_luma),
        Metric("ms-ssim", "MS-SSIM over RGB; from 161 pixels a side", _ms_ssim_rgb),
        Metric("ms-ssim-y", "MS-SSIM of luma; from 161 pixels a side", _ms_ssim_luma),
        Metric(
            "xpsnr",
            "XPSNR of luma (FFmpeg's filter)",
            stream=_filter("xpsnr", ("lavfi.xpsnr.xpsnr.y",)),
            unit="dB",
            decimals=3,
        ),
        Metric(
            "ssim-ffmpeg",
            "FFmpeg's own SSIM of luma, over 8x8 blocks",
            stream=_filter("ssim", ("lavfi.ssim.Y",)),
        ),
        Metric(
            "vif",
            "VIF of luma, mean over four scales (FFmpeg's filter)",
            stream=_filter("vif", tuple(f"lavfi.vif.scale.{scale}" for scale in range(4))),
        ),
        _vmaf("vmaf", "VMAF, the model of 2016"),
        _vmaf("vmaf-neg", "VMAF that sharpening does not raise"),
        _vmaf("vmaf-v1", "VMAF of 2026, 1080p seen from three heights"),
        _vmaf("vmaf-v1-phone", "VMAF of 2026 on a phone"),
        _vmaf("vmaf-v1-4k", "VMAF of 2026, 2160p seen from one and a half heights"),
        _vmaf("vmaf-v1-hfr", "VMAF of 2026 at 50 frames a second or more"),
        Metric(
            "cambi",
            "banding of the picture itself, lower is better",
            stream=lambda setup: VmafMetric("cambi", setup.rate),
            decimals=3,
            rising=False,
            alone=True,
        ),
        Metric(
            "blockiness",
            "steps at the borders of 8x8 blocks over those inside them; 1 is best",
            lambda pair: blockiness(pair.pred),
            decimals=3,
            rising=False,
            alone=True,
        ),
        Metric(
            "clipped",
            "RGB samples that are 0 or 255",
            lambda pair: clipped_percent(pair.pred),
            unit="%",
            decimals=3,
            rising=False,
            alone=True,
        ),
        Metric("changed", "samples that differ", changed_percent, unit="%", decimals=2, rising=False),
        Metric(
            "flicker",
            "how much more consecutive pictures differ than the reference's, of 255",
            stream=lambda setup: FlickerMetric(),
            decimals=3,
            rising=False,
        ),
        Metric(
            "ssimulacra2",
            "SSIMULACRA2, by its package",
            stream=lambda setup: Ssimulacra2Metric(),
            decimals=2,
        ),
        Metric(
            "cvvdp",
            "ColorVideoVDP of the clip, by its package",
            stream=lambda setup: CvvdpMetric(setup.rate),
            unit="JOD",
            decimals=3,
        ),
        Metric(
            "lpips",
            "LPIPS (AlexNet) by its package, lower is better; you supply the weights",
            stream=lambda setup: LpipsMetric(setup.lpips_weights),
            rising=False,
        ),
    )
}


def parse(text: str) -> tuple[str, ...]:
    """The metrics of a comma-separated list, in its order, each once; `SET_METRICS` among them.

    Raises VqeError for a name that is in neither table, with the nearest one that is.
    """
    known = [*METRICS, *SET_METRICS]
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not names:
        raise VqeError("--metrics names no metric.", f"Known are {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise VqeError(f"There is no metric {name!r}.", did_you_mean(name, known))
    return names


def check_available(names: Sequence[str], setup: Setup) -> None:
    """Raises VqeError, with how to get it, for the first metric that cannot be computed here."""
    for name in names:
        stream = METRICS[name].stream
        if stream is not None:
            stream(setup).discard()
