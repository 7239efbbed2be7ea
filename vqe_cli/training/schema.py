"""The configuration of a training run, as frozen dataclasses: keys of configs/*.yaml, meaning, defaults."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained. arch and config go to `networks.build`.

    init: weights to start from (a file of ours or a public checkpoint); where names and shapes fit only
    partly, the rest is listed and starts fresh. grow_from: weights of a trained single-frame network,
    which MotionFusion starts with. flow: weights of a pre-trained flow network. frozen: beginnings of the
    names of parameters that stay as they are ("stage_one." begins those of `joint`). joint: weights of a
    trained stage I behind which this stage II trains, and which trains with it. fit_clips: MotionFusion
    solves its blend of neighbours from so many clips before the first step, by least squares (0: the blend
    starts at zero), unless a phase before has.
    """

    arch: str = "qecnn"
    config: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    grow_from: str | None = None
    flow: str | None = None
    frozen: tuple[str, ...] = ()
    joint: str | None = None
    fit_clips: int = 0


@dataclass(frozen=True)
class DataConfig:
    """What is fed. recipes: name of a folder below lq/ -> how often it is drawn (relative).

    frames: clip length; context: so many of them at either end are seen but not learned from; crop: side of
    the square crops, pixels of the compressed picture; batch: clips a step and process. unknown_qp: share of
    clips whose QPs are hidden, so that unknown is a trained case. scale: how much larger the truth is than
    the input. pqf, pqf_rule: how peaks are found (mode and rule of `hevc.pqf.mark`). duplicates: "remove"
    takes frames that equal their predecessor bit for bit out of the compressed clip and its truth (RMD),
    "keep" does not. cache_gib: most memory that decoded clips may take, in each process; cache: "ram", or
    "device" (on the GPU). inputs: the folder that pictures are read from; for stage II one beside lq/ and
    laid out alike, with what stage I made of those clips (QPs and peaks are always those of lq/).
    recoloured: share of clips whose luma and chroma are inverted or exchanged at random
    (`data.recoloured`). members: the two pipelines that a mask network weighs (gate only).
    """

    recipes: dict[str, float] = field(default_factory=lambda: {"qp37": 1.0})
    frames: int = 1
    context: int = 0
    crop: int = 96
    batch: int = 16
    recoloured: float = 0.0
    unknown_qp: float = 0.1
    scale: int = 1
    pqf: str = "auto"
    pqf_rule: str = "prominent"
    duplicates: str = "remove"
    cache_gib: float = 8.0
    cache: str = "ram"
    inputs: str = "lq"
    members: tuple[str, ...] = ()

    @property
    def kept(self) -> slice:
        """The frames of a clip that are learned from."""
        return slice(self.context, -self.context or None)


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast.

    steps: of optimisation; 0 where only network.fit_clips is to do something. loss: "charbonnier", or "psnr"
    (the mean of the pictures' PSNR: squared error relative to that of the whole compressed picture, so that
    a lightly compressed one weighs as much as a heavily compressed one, and within a picture all places
    alike); optimizer: "adamw", or "muon" (`muon.Muon`: fewer steps on convolutions of 32 channels
    and more); mse_share: last share of the run whose loss is the squared error instead; rate: peak learning
    rate; warmup: share of the run; restarts: cosine periods; flow_rate: the flow network's rate relative to
    `rate`; flow_frozen: share of the run in which it does not move. Of `crds` alone: encoder_frozen: the
    same of its encoder; intermediate: weight of the loss of the levels between, which counts for the first
    `intermediate_share` of the run.
    """

    loss: str = "charbonnier"
    optimizer: str = "adamw"
    steps: int = 20_000
    rate: float = 5e-4
    final_rate: float = 1e-6
    warmup: float = 0.03
    restarts: int = 1
    mse_share: float = 0.25
    clip_norm: float = 1.0
    ema: float = 0.999
    flow_rate: float = 0.25
    flow_frozen: float = 0.1
    encoder_frozen: float = 0.0
    intermediate: float = 0.0
    intermediate_share: float = 0.5


@dataclass(frozen=True)
class FlowConfig:
    """Training of the flow network alone. synthetic_share: first share of the run, on synthetic motions of
    single frames; the rest is on real pairs. motion_px: least and greatest amplitude of a synthetic
    motion, pixels of the quarter-size picture. smoothness: weight of the flow's gradient in the
    photometric loss."""

    synthetic_share: float = 0.5
    motion_px: tuple[float, ...] = (0.2, 5.0)
    smoothness: float = 0.02


@dataclass(frozen=True)
class ValidationConfig:
    """Measured while training. recipes: folders below lq/; every_minutes: between two measurements;
    frame_step: every n-th frame of a clip is measured (image networks) and clips: how many of the clips."""

    recipes: tuple[str, ...] = ("qp37",)
    every_minutes: float = 4.0
    frame_step: int = 8
    clips: int = 12


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. precision: "auto" (bf16 where the machine is faster with it), "fp32" or "bf16". compile:
    whether torch.compile fuses the network (pays on a GPU). footage: a sentence on the material, for the
    card.

    phases: of a progressive run, each a whole config of its own that starts from the weights that the
    one before ended with; in the file a phase names only what it changes. phase: the name of such a phase.
    """

    name: str
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    flow: FlowConfig = FlowConfig()
    validation: ValidationConfig = ValidationConfig()
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    footage: str = ""
    phase: str = ""
    phases: tuple["TrainConfig", ...] = ()

    def all_phases(self) -> tuple["TrainConfig", ...]:
        """The phases in order; a run without phases is its only phase."""
        return self.phases or (self,)
