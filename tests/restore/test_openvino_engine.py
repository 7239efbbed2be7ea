"""Networks by OpenVINO give what PyTorch gives, on a real picture, and what stands in their way is said."""

import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import Tensor

from vqe_cli import networks
from vqe_cli.errors import DeviceError
from vqe_cli.restore import openvino_engine
from vqe_cli.restore.choices import NetworkChoice
from vqe_cli.restore.device import choose
from vqe_cli.restore.engine import load
from vqe_cli.video.colour import to_rgb, to_tensors
from vqe_cli.video.reader import Reader
from vqe_cli.weights.load import load_network
from vqe_cli.weights.registry import find

PIPELINES = [("fast", 1, 0), ("fast", 2, 0), ("fast", 4, 0), ("best", 1, 1), ("balanced", 1, 0)]
UNKNOWN = math.nan


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """Three neighbouring pictures (T, 3, H, W), whose sides no network divides."""
    with Reader(ROOT / "samples/lq/bunny.mkv", frames=3) as reader:
        pictures = [to_rgb(to_tensors(frame.planes, "cpu"), reader.info.colour) for frame in reader]
    return torch.cat(pictures)[..., 40:143, 50:179]


@pytest.fixture
def fresh() -> Iterator[None]:
    """What is found of OpenVINO is forgotten before and after."""
    openvino_engine.unusable.cache_clear()
    yield
    openvino_engine.unusable.cache_clear()


def run(engine: str, precision: str, pipeline: tuple[str, int, int], clip: Tensor) -> Tensor:
    """What one stage of a pipeline makes of a clip whose first QP is unknown."""
    model, scale, stage = pipeline
    compute = choose("cpu", precision, engine)
    network = compute.prepare(load_network(find(model, scale).stages[stage]))
    qp = torch.tensor([UNKNOWN, 32.0, 37.0])
    with compute.running():
        if network.is_video:
            return network(clip[None], None, qp[None])[0].float()
        return network(clip.contiguous(memory_format=torch.channels_last), qp).float()


@pytest.mark.parametrize("pipeline", PIPELINES, ids=str)
def test_as_pytorch(pipeline: tuple[str, int, int], clip: Tensor) -> None:
    wanted = run("torch", "fp32", pipeline, clip)
    found = run("openvino", "fp32", pipeline, clip)
    assert found.shape == wanted.shape
    plain = torch.nn.functional.interpolate(clip, scale_factor=pipeline[1], mode="bicubic")
    change = (wanted - plain).abs().max()
    assert (found - wanted).abs().max() < min(1e-4, 0.01 * change)


@pytest.mark.parametrize("pipeline", [*PIPELINES[:1], *PIPELINES[3:]], ids=str)
def test_as_pytorch_in_bfloat16(pipeline: tuple[str, int, int], clip: Tensor) -> None:
    difference = run("openvino", "bf16", pipeline, clip) - run("torch", "bf16", pipeline, clip)
    assert -10 * difference.square().mean().log10() > 60


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("qecnn", {"channels": 8, "blocks": 2, "qp_conditioning": False}),
        ("qecnn", {"channels": 8, "blocks": 1, "unshuffle": 4}),
        ("swinir", {"embed_dim": 12, "depths": [3], "num_heads": [3], "window_size": 4, "img_range": 255.0}),
        ("swinir", {"embed_dim": 12, "depths": [1], "num_heads": [2], "window_size": 4}),
        (
            "swinir",
            {
                "embed_dim": 8,
                "depths": [2],
                "num_heads": [2],
                "window_size": 4,
                "resi_connection": "3conv",
                "qp_conditioning": True,
            },
        ),
    ],
)
def test_other_settings(arch: str, config: dict[str, object], clip: Tensor) -> None:
    """All weights random: untrained ones change nothing."""
    torch.manual_seed(0)
    network = networks.build(arch, config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    qp = torch.tensor([22.0])
    wanted = network(clip[:1], qp)
    found = openvino_engine.converted(network, "fp32")(clip[:1], qp)
    assert (wanted - clip[:1]).abs().max() > 1e-2
    assert (found - wanted).abs().max() < 1e-4


def test_same_bits_again(clip: Tensor) -> None:
    first, again = (run("openvino", "auto", PIPELINES[0], clip) for _ in range(2))
    assert torch.equal(first, again)


def test_absent(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match="OpenVINO is not installed") as raised:
        choose("cpu", engine="openvino")
    assert "pip install" in raised.value.remedy
    assert choose("cpu", engine="auto").engine == "torch"


def test_too_old(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setitem(sys.modules, "openvino", types.SimpleNamespace(__version__="2023.1.0-1", __spec__=1))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(DeviceError, match=r"OpenVINO 2023.1.0-1 is older"):
        choose("cpu", engine="openvino")
    fallen_back = choose("cpu", engine="auto")
    assert fallen_back.engine == "torch" and "2023.1" in str(fallen_back.warning)


def test_refused_graph(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    class Refusing:
        def compile_model(self, *_: object) -> None:
            raise RuntimeError("Check failed\nat line 7")

    monkeypatch.setattr(openvino_engine, "core", Refusing)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(DeviceError, match=r"refuses .* \(Check failed\)"):
        choose("cpu", engine="openvino")
    assert choose("cpu", engine="auto").warning is not None


def test_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DeviceError, match="computes on the CPU, and the device is mps"):
        choose("mps", "fp32", "openvino")
    assert choose("mps", "fp32", "auto").engine == "torch"


def test_networks_without_a_graph(tmp_path: Path) -> None:
    from tiny_weights import write_aligned

    weights = write_aligned(tmp_path / "net.safetensors")
    assert load(NetworkChoice(weights=(weights,), device="cpu")).compute.engine == "torch"
    with pytest.raises(DeviceError, match="no graph"):
        load(NetworkChoice(weights=(weights,), device="cpu", engine="openvino"))


def test_cache_of_compiled_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "cache_folder", lambda: tmp_path / "cache")
    openvino_engine.core.cache_clear()
    try:
        openvino_engine.converted(networks.build("qecnn", {"channels": 8, "blocks": 1}), "fp32")
        assert list((tmp_path / "cache/openvino").iterdir())
    finally:
        openvino_engine.core.cache_clear()


def test_auto_takes_what_was_measured_to_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for has, fast in (({"avx512_bf16": True}, "torch"), ({"amx_bf16": True}, "openvino")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        engines = [
            load(NetworkChoice(name, device="cpu"), empty=True).compute.engine for name in ("fast", "best")
        ]
        assert engines == [fast, "openvino"]


@pytest.mark.parametrize("name", ["fast", "balanced"])
def test_converted_after_loading(name: str, clip: Tensor) -> None:
    """As machines of a cluster do with networks that were prepared for PyTorch."""
    neutral = load(NetworkChoice(name, device="cpu", precision="fp32", engine="torch"))
    assert not isinstance(neutral.networks[0], openvino_engine.Converted)
    found = neutral.on(choose("cpu", "fp32", "openvino")).networks[0]
    single = found if name == "fast" else found.spatial
    assert isinstance(single, openvino_engine.Converted)
