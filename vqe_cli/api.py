"""The public functions: files to better files, frames, figures, and networks on tensors.

`vqe_cli` exports them; import them from there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.bitstream.peaks import qp_step
from vqe_cli.errors import SettingsError, did_you_mean
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.metrics import CHANGE_METRICS, DEFAULT_METRICS, parse
from vqe_cli.measure.result import Options, PairResult, gain_of
from vqe_cli.measure.sets import SET_METRICS
from vqe_cli.restore.choices import NetworkChoice, PeakRule, SizeChoice
from vqe_cli.restore.engine import Engine, Loaded, load
from vqe_cli.restore.marking import PeakCount, mark_peaks
from vqe_cli.runs.report import Event, Progress, Report
from vqe_cli.runs.run import Restorer
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.tree import refuse_folder_options
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.video.inspect import Inspection
from vqe_cli.video.inspect import inspect as inspect_video
from vqe_cli.video.sources import open_reader
from vqe_cli.weights.ensembles import find_ensemble

AnyPath = str | PathLike[str]
RGB = Colour("rgb", True, 8, (1, 1))


def enhance(
    input: AnyPath,
    output: AnyPath,
    *,
    progress: Callable[[Progress], None] | bool = False,
    **options: Any,
) -> Report:
    """Enhance a video, as `vqe enhance INPUT OUTPUT` does.

    progress: called after every frame with a `Progress` (`frames` done, `total` or None when unknown); True
    shows a bar on stderr. options: any option of the command by its name, with underscores: model="balanced",
    scale=2, tta=8, device="cuda", codec="ffv1", frames=100, overwrite=True (docs/usage.md lists
    them); --from is from_, since `from` is a word of the language.

    Raises SettingsError for an option that does not exist or has a wrong value, and other VqeErrors for all
    that a user can cause. Nothing but a complete file is ever left under the output's name. Returns a
    `Report`; its `as_dict()` is plain data for JSON.
    """
    known = {entry.name for entry in fields(Settings)} - {"input", "output"}
    for name in options:
        if name not in known:
            raise SettingsError(f"enhance has no option {name!r}.", did_you_mean(name, known))
    settings = Settings(Path(input), Path(output), **options)
    refuse_folder_options(settings, options)
    with _Watched(progress) as listen, Restorer() as restorer:
        return restorer.enhance(settings, listen)


def inspect(path: AnyPath, *, hm_log: AnyPath | None = None, duplicates: bool = True) -> Inspection:
    """What a video says of itself, frame by frame, as `vqe inspect` shows it.

    The result has `info` (size in pixels, rate in frames a second, codec, colour, streams), `frames` in
    display order and `warnings`. A frame has `index` (from 0), `pts` (ticks of `info.time_base` seconds),
    `kind` ("I", "P", "B" or "?"), `qp` (luma slice QP for HEVC, the codec's own scale otherwise; None when
    unknown), `peak` (whether it is a peak quality frame) and `duplicate_of` (index of the earlier frame with
    equal planes, or None).

    hm_log: log of the HM encoder or decoder, for QPs that headers do not tell. duplicates: whether pictures
    are decoded to find equal ones; without it HEVC is read from its headers alone, which is much faster.
    Raises InputError for what cannot be read and for a log that does not match.
    """
    return inspect_video(Path(path), None if hm_log is None else Path(hm_log), duplicates=duplicates)


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one video."""

    mean: dict[str, float | None]
    """Mean over the frames by metric, in dB or the metric's unit; None where it does not apply."""

    gain: dict[str, float | None] | None
    """The same less that of the compressed input; None where no input was given."""

    per_frame: dict[str, tuple[float | None, ...]]
    """The values of the measured frames by metric."""

    detail: PairResult
    """All of it: frames, QPs and peaks, spread, lows, warnings."""


def evaluate(
    truth: AnyPath | None,
    result: AnyPath,
    lq: AnyPath | None = None,
    *,
    metrics: Sequence[str] | None = None,
    max_frames: int | None = None,
) -> Evaluation:
    """Compare a video with its truth, as `vqe eval` does.

    lq: the compressed input, for gains over it; truth None: what changed from the input is measured. metrics:
    "psnr" (FFmpeg's 8-bit RGB, dB), "psnr-y" (dB), "ssim", "ms-ssim", and what `vqe eval --metrics` takes
    besides; None for the usual ones. max_frames: only the first frames. Frames pair by index and are never
    shifted to fit. Frames that equal the truth have an infinite PSNR and are left out of means and gains,
    unless all are equal.

    Raises VqeError for videos that cannot be read or do not fit each other, and for metrics that are not
    available.
    """
    standard = DEFAULT_METRICS if truth is not None else CHANGE_METRICS
    names = parse(",".join(standard if metrics is None else metrics))
    for name in names:
        if name in SET_METRICS:
            raise SettingsError(f"evaluate does not have {name}, a distance of sets.", "Use `vqe eval`.")
    detail = compare_pair(truth, result, lq, names, Options(max_frames=max_frames))
    gain = None
    if detail.given is not None:
        gain = {name: gain_of(detail.output[name], before).value for name, before in detail.given.items()}
    return Evaluation(
        mean={name: series.mean for name, series in detail.output.items()},
        gain=gain,
        per_frame={name: series.values for name, series in detail.output.items()},
        detail=detail,
    )


def read(path: AnyPath, *, start: int = 0, frames: int | None = None) -> Iterator[Frame]:
    """The frames of a video (or image folder, pattern, .y4m) in display order, exactly as decoded.

    Each has `planes` (Y, U, V, or R, G, B, or Y alone; arrays (h, w) of uint8, or uint16 above 8 bits; chroma
    as subsampled as it is coded), `pts` (ticks of the file's time base), `qp` (None when unknown), and `peak`
    (whether it is a peak quality frame). start: first frame, from 0; frames: how many, None for all.

    Raises InputError for what cannot be read.
    """
    with open_reader(Path(path), start=start, frames=frames) as reader:
        rule = PeakRule(step=qp_step(reader.info.codec))
        for frame, _ in mark_peaks(((frame, False) for frame in reader), rule, PeakCount()):
            yield frame


class Model:
    """A pipeline's networks on their device: tensors in, tensors out.

    `scale` is the size of the output over that of the input.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.scale = loaded.choice.scale

    @torch.inference_mode()
    def __call__(self, clip: Tensor, qp: Tensor | None = None, peaks: Tensor | None = None) -> Tensor:
        """Enhance clips (N, T, 3, H, W), RGB in [0, 1], to (N, T, 3, scale * H, scale * W), float32.

        qp (N, T): on HEVC's scale, NaN where unknown; None for unknown. peaks (N, T), bool: peak quality
        frames; None for none. Frames of a clip are of one scene. Large pictures are cut into tiles. The
        result lies on the model's device.
        """
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(f"a batch of clips is (N, T, 3, H, W), not {tuple(clip.shape)}")
        count, frames = clip.shape[:2]
        qp = torch.full((count, frames), float("nan")) if qp is None else qp.float()
        peaks = torch.zeros(count, frames, dtype=torch.bool) if peaks is None else peaks.bool()
        if qp.shape != (count, frames) or peaks.shape != (count, frames):
            raise ValueError(
                f"qp and peaks are ({count}, {frames}), not {tuple(qp.shape)}, {tuple(peaks.shape)}"
            )
        engine = self._loaded.start(SizeChoice(), RGB, (clip.shape[3], clip.shape[4]))
        clip = clip.to(self._loaded.compute.device, torch.float32)
        return torch.stack([self._clip(engine, *each) for each in zip(clip, qp, peaks, strict=True)])

    def _clip(self, engine: Engine, clip: Tensor, qp: Tensor, peaks: Tensor) -> Tensor:
        """One clip (T, 3, H, W)."""
        out = engine.run(clip, peaks.cpu(), qp.to(clip.device), slice(0, len(clip)))
        base = clip
        if self.scale > 1:
            base = F.interpolate(clip, scale_factor=self.scale, mode="bicubic", align_corners=False)
        known = [None if level != level else level for level in qp.tolist()]
        pairs = zip(out.split(1), base.split(1), known, strict=True)
        return base + torch.cat([engine.residual(*each) for each in pairs])


def load_model(
    name: str | None = None,
    *,
    scale: int = 1,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    tta: int | None = None,
) -> Model:
    """The networks of a bundled pipeline ("fast", "balanced", "best"; None for the default one).

    scale: 1, 2 or 4. device: "auto", "cpu", "cuda", "cuda:N" or "mps". precision: "auto", "fp32", "bf16" or
    "fp16". engine: "auto", "torch" or "openvino". tta: flips and rotations that are averaged; None for as
    many as the pipeline wants.

    Raises SettingsError for a name that is an ensemble, WeightsError for an unknown pipeline and for damaged
    weights, DeviceError for a device that is not there.
    """
    if find_ensemble(name) is not None:
        raise SettingsError(f"{name} is an ensemble, not a pipeline.", "Load its members one by one.")
    return Model(
        load(NetworkChoice(name, scale=scale, tta=tta, device=device, precision=precision, engine=engine))
    )


class _Watched:
    """`with _Watched(progress) as listen`: what a run tells, as the caller wants to hear it."""

    def __init__(self, progress: Callable[[Progress], None] | bool) -> None:
        self._progress = progress
        self._bar: Any = None

    def __enter__(self) -> Callable[[Event], None]:
        if self._progress is True:
            from tqdm import tqdm

            self._bar = tqdm(unit="frame")
        return self._listen

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _listen(self, event: Event) -> None:
        if not isinstance(event, Progress):
            return
        if callable(self._progress):
            self._progress(event)
        elif self._bar is not None:
            self._bar.total = event.total
            self._bar.update(event.frames - self._bar.n)
