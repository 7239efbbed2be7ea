"""Networks computed by OpenVINO in place of PyTorch, for some faster on a CPU (docs/results.md).

Graphs are made of the weights by OpenVINO's own operations, without ONNX or files in between, one for all
sizes of pictures and all QPs; what is compiled of them is kept in the user's cache folder. A converted
network is called as the PyTorch network that it replaces.
"""

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.errors import DeviceError
from vqe_cli.files import cache_folder
from vqe_cli.networks.layers import ModulatedBlock, pad_to_multiple
from vqe_cli.networks.motion_fusion import FoldedBlocks, MotionFusion
from vqe_cli.networks.qecnn import LEVELS_KEPT, QECNN, FoldedQECNN
from vqe_cli.networks.swinir import SwinIR
from vqe_cli.networks.windows import shift_masks
from vqe_cli.restore.openvino_graphs import Node, blocks_graph, qecnn_graph, swinir_graph, transposed_order

OLDEST = (2024, 4)
HINTS = {"fp32": "f32", "bf16": "bf16"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
REMEDY = "Use --engine torch, or pip install --upgrade openvino."


@cache
def unusable() -> str | None:
    """Why OpenVINO cannot compute here; None where it can: it is installed, new enough, and compiles small
    networks of the kinds that are converted."""
    try:
        import openvino
    except ModuleNotFoundError:
        return "OpenVINO is not installed"
    except Exception as error:  # whatever a broken installation raises: libraries of another system, ...
        return f"OpenVINO cannot be loaded ({first_line(error)})"
    version = tuple(int(part) for part in re.findall(r"\d+", openvino.__version__)[:2])
    if version < OLDEST:
        return f"OpenVINO {openvino.__version__} is older than {OLDEST[0]}.{OLDEST[1]}"
    try:
        converted(QECNN(channels=8, blocks=1), "fp32")
        converted(SwinIR(embed_dim=8, depths=(2,), num_heads=(2,), window_size=4, upsampler=""), "fp32")
    except DeviceError as error:
        return error.message.rstrip(".")
    return None


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def has_graph(network: nn.Module) -> bool:
    """Whether a network, or a part of it, is converted."""
    if isinstance(network, SwinIR):
        return network.upsampler == ""
    return isinstance(network, QECNN | FoldedQECNN | MotionFusion)


def pays(network: nn.Module) -> bool:
    """Whether OpenVINO was measured to take less time than PyTorch (docs/results.md): for the attention of a
    SwinIR everywhere, for convolutions where the processor has AMX."""
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return has_graph(network) and (isinstance(network, SwinIR) or bool(has.get("amx_bf16")))


def converted(network: nn.Module, precision: str) -> nn.Module:
    """The network, or what of it has a graph, for OpenVINO; others as they are.

    network: on the CPU in float32. precision: "fp32" or "bf16". Raises DeviceError for a graph that OpenVINO
    refuses.
    """
    if not has_graph(network):
        return network
    try:
        if isinstance(network, MotionFusion):
            network.spatial = converted(network.spatial, precision)  # type: ignore[assignment]
            if network.residual is not None:
                network.residual.body = OpenVinoBlocks(network.residual, precision)  # type: ignore[assignment]
                network.residual.last = nn.Identity()  # type: ignore[assignment]
            return network
        if isinstance(network, SwinIR):
            return OpenVinoSwinIR(network, precision)
        return OpenVinoQECNN(unfolded(network), precision)
    except (RuntimeError, AttributeError) as error:
        raise DeviceError(
            f"OpenVINO refuses the graph of {type(network).__name__} ({first_line(error)}).", REMEDY
        ) from error


def unfolded(network: Any) -> QECNN:
    """The QECNN behind a folded one, or itself."""
    found = network.network if isinstance(network, FoldedQECNN) else network
    assert isinstance(found, QECNN)
    return found


class Graph:
    """A graph from parameters to one result, compiled for the CPU and for as many threads as PyTorch has.

    Called with a float32 tensor for each parameter. Raises RuntimeError where OpenVINO refuses it.
    """

    def __init__(self, result: Node, parameters: Sequence[Node], precision: str) -> None:
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # processes beside each other would share the first cores
        }
        model = openvino.Model([result], list(parameters))
        self._request = core().compile_model(model, "CPU", settings).create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        given = {number: as_openvino(tensor) for number, tensor in enumerate(inputs)}
        with self._lock:
            return torch.from_numpy(self._request.infer(given, share_inputs=True)[0])


def as_openvino(tensor: Tensor) -> Any:
    """A tensor, float32 or bfloat16, without a copy where it is contiguous."""
    import openvino

    tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:  # which NumPy has not
        return openvino.Tensor(
            tensor.view(torch.int16).numpy(), openvino.Shape(tensor.shape), openvino.Type.bf16
        )
    return openvino.Tensor(tensor.numpy(), shared_memory=True)


@cache
def core() -> Any:
    """OpenVINO with the user's cache of compiled graphs, where one can be written."""
    import openvino

    found = openvino.Core()
    folder = cache_folder() / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return found
    found.set_property({"CACHE_DIR": str(folder)})
    return found


class Converted(nn.Module, ABC):
    """An image network whose residual a graph computes; base of one class for each kind of network."""

    is_video = False

    def __init__(self, network: QECNN | SwinIR) -> None:
        super().__init__()
        self.scale = network.scale
        self.multiple = network.multiple
        self.modulation_at = lru_cache(LEVELS_KEPT)(self.modulation)

    def forward(self, x: Tensor, qp: Tensor | None = None) -> Tensor:
        """x (N, 3, H, W), RGB in [0, 1], to (N, 3, scale*H, scale*W); qp (N,), NaN where unknown, or None."""
        qp = x.new_full((len(x),), float("nan")) if qp is None else qp
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x.float(), self.multiple)
        residual = torch.cat(
            [
                self.residual(picture, None if level != level else level)
                for picture, level in zip(padded.split(1), qp.tolist(), strict=True)
            ]
        )
        if self.scale > 1:
            padded = F.interpolate(
                padded.contiguous(), scale_factor=self.scale, mode="bicubic", align_corners=False
            )
        return (padded + residual)[..., : height * self.scale, : width * self.scale]

    @abstractmethod
    def residual(self, picture: Tensor, level: float | None) -> Tensor:
        """What is added to a picture (1, 3, H, W) of this QP, whose sides are multiples of `multiple`."""

    @abstractmethod
    def modulation(self, level: float | None) -> Tensor:
        """What the QP does to features, as the graph takes it."""


class OpenVinoQECNN(Converted):
    """A QECNN: the QP's scales and shifts are inputs of its graph."""

    def __init__(self, network: QECNN, precision: str) -> None:
        super().__init__(network)
        self._network = (network,)  # not a module of this one
        self._graph = Graph(*qecnn_graph(network), precision)

    def residual(self, picture: Tensor, level: float | None) -> Tensor:
        """As `Converted.residual`."""
        return self._graph(picture, self.modulation_at(level))

    @torch.no_grad()
    def modulation(self, level: float | None) -> Tensor:
        """(1, 2 * blocks * C, 1, 1): for each block C scales, then C shifts."""
        network = self._network[0]
        blocks = [block for block in network.body if isinstance(block, ModulatedBlock)]
        width = network.head.out_channels
        if network.embed is None:
            return torch.cat([torch.ones(width), torch.zeros(width)] * len(blocks)).view(1, -1, 1, 1)
        code = network.embed(torch.tensor([float("nan") if level is None else level]), 1)
        plain = torch.cat([torch.ones(width), torch.zeros(width)])
        found = [plain + block.modulate(code)[0] for block in blocks if block.modulate is not None]
        return torch.cat(found).view(1, -1, 1, 1)


class OpenVinoSwinIR(Converted):
    """A SwinIR of pictures that keep their size: the QP's scales and shifts and the masks of shifted windows
    are inputs of its graph."""

    def __init__(self, network: SwinIR, precision: str) -> None:
        super().__init__(network)
        self._network = (network,)  # not a module of this one
        self._graph = Graph(*swinir_graph(network), precision)
        self._masks = lru_cache(4)(self.masks)

    def residual(self, picture: Tensor, level: float | None) -> Tensor:
        """As `Converted.residual`."""
        network = self._network[0]
        normal = (picture - network.mean) * network.img_range
        rows, columns = (side // network.multiple for side in picture.shape[-2:])
        found = self._graph(normal, self.modulation_at(level), self._masks(rows, columns))
        return network.residual_step / network.img_range * found

    @torch.no_grad()
    def modulation(self, level: float | None) -> Tensor:
        """(1, 1, 1, 2 * groups * C): for each group C scales, then C shifts."""
        network = self._network[0]
        qp = torch.tensor([float("nan") if level is None else level])
        width = network.conv_first.out_channels
        plain = torch.cat([torch.ones(width), torch.zeros(width)])
        found = []
        for group in network.layers:
            change: Any = group.modulation
            found.append(plain if change is None else plain + change.modulate(change.embed(qp, 1))[0])
        return torch.cat(found).view(1, 1, 1, -1)

    def masks(self, rows: int, columns: int) -> Tensor:
        """What to add to the attention of each shifted window, (rows * columns, 1, L, L)."""
        window = self._network[0].window
        last_row, last_column = ((torch.arange(count) == count - 1).long() for count in (rows, columns))
        order = transposed_order(window**2)
        tables = shift_masks(window, window // 2)[..., order, :][..., order]
        chosen = tables[last_row[:, None], last_column[None]]
        return chosen.flatten(0, 1)[:, None].float()


class OpenVinoBlocks(nn.Module):
    """The residual blocks of a MotionFusion with the convolution behind them."""

    def __init__(self, blocks: FoldedBlocks, precision: str) -> None:
        super().__init__()
        self._dtype = DTYPES[precision]
        self._graph = Graph(*blocks_graph(blocks, precision), precision)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, h, w), channels last, to (N, 3 * FOLD**2, h, w), float32."""
        last = x.permute(0, 2, 3, 1).to(self._dtype)
        return torch.cat([self._graph(part) for part in last.split(1)])
