"""Metrics of other people's packages: equal to the packages' own results on the same pictures."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import DATA
from safetensors.torch import save_file
from small_clips import clip, frame, write, write_images
from ssimulacra2 import compute_ssimulacra2

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.metrics import METRICS, Setup
from vqe_cli.measure.perceptual import ALEXNET, CvvdpMetric, LpipsMetric, Ssimulacra2Metric
from vqe_cli.measure.pictures import PairView, View
from vqe_cli.measure.result import Options
from vqe_cli.video.frame import Colour

RGB = Colour("rgb", True, 8, (1, 1))
PICTURES = DATA / "metrics" / "rgb1_truth.png", DATA / "metrics" / "rgb1_jpeg.png"


def rgb_pair(gt: np.ndarray, pred: np.ndarray) -> PairView:
    """Both (H, W, 3) uint8."""
    return PairView(*(View(frame(tuple(np.moveaxis(pixels, 2, 0))), RGB) for pixels in (gt, pred)))


def test_ssimulacra2_is_that_of_its_package(tmp_path: Path) -> None:
    for side, picture in zip(("gt", "pred"), PICTURES, strict=True):
        (tmp_path / side).mkdir()
        (tmp_path / side / "f001.png").write_bytes(picture.read_bytes())
    [value] = (
        compare_pair(tmp_path / "gt", tmp_path / "pred", metrics=["ssimulacra2"]).output["ssimulacra2"].values
    )
    assert value == pytest.approx(compute_ssimulacra2(*PICTURES), abs=1e-9)
    # ssimulacra2 0.3.0 on the two files.
    assert value == pytest.approx(15.952266, abs=1e-4)


def test_ssimulacra2_of_small_and_of_equal_pictures() -> None:
    metric = Ssimulacra2Metric()
    picture = np.random.default_rng(5).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    metric.push(rgb_pair(picture[:7], picture[:7]))
    metric.push(rgb_pair(picture, picture))
    assert metric.close() == [None, pytest.approx(100)]
    assert "ssimulacra2" in metric.source


def alexnet(prefix: str) -> dict[str, torch.Tensor]:
    """Made-up weights of torchvision's AlexNet, by its own names or by those of LPIPS."""
    shapes = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    draw = torch.Generator().manual_seed(1)
    made = {}
    for index, shape in shapes.items():
        name = f"features.{index}" if prefix == "features" else f"net.{ALEXNET[index]}"
        made[f"{name}.weight"] = torch.randn(shape, generator=draw) * 0.03
        made[f"{name}.bias"] = torch.randn(shape[:1], generator=draw) * 0.1
    return made


class StandIn(torch.nn.Module):
    """What is used of the package lpips: its parameters, and a value that depends on both pictures."""

    def __init__(self, net: str, pnet_rand: bool, verbose: bool) -> None:
        super().__init__()
        assert (net, pnet_rand, verbose) == ("alex", True, False)
        self.weights = torch.nn.ParameterDict()
        for key, tensor in alexnet("net").items():
            self.register_parameter(key.replace(".", "_"), torch.nn.Parameter(torch.zeros_like(tensor)))

    def state_dict(self) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {key: getattr(self, key.replace(".", "_")) for key in alexnet("net")}

    def load_state_dict(self, state: dict[str, torch.Tensor], strict: bool = True) -> None:  # type: ignore[override]
        assert not strict
        for key, tensor in state.items():
            getattr(self, key.replace(".", "_")).data.copy_(tensor)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        assert first.shape == second.shape and first.shape[:2] == (1, 3)
        assert min(first.min(), second.min()) >= -1 and max(first.max(), second.max()) <= 1
        return (first - second).abs().mean() * self.net_slice1_0_weight.std()


@pytest.fixture
def lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lpips")
    module.LPIPS = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)


@pytest.mark.usefixtures("lpips")
@pytest.mark.parametrize("prefix", ["features", "net"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_lpips_gets_pictures_and_weights(tmp_path: Path, suffix: str, prefix: str) -> None:
    weights, path = alexnet(prefix), tmp_path / f"weights{suffix}"
    torch.save(weights, path) if suffix == ".pth" else save_file(weights, path)
    gt, near = write(tmp_path / "gt.mkv", clip(3)), write(tmp_path / "near.mkv", clip(3, noise=1))
    far = write(tmp_path / "far.mkv", clip(3, noise=9))
    result = compare_pair(gt, near, far, metrics=["lpips"], options=Options(lpips_weights=path))
    assert 0 < result.output["lpips"].mean < result.given["lpips"].mean
    assert result.output["lpips"].worst[1] == max(result.output["lpips"].values)
    small = write_images(tmp_path / "small", [(np.zeros((30, 40), np.uint8),) * 3])
    assert (
        compare_pair(small, small, metrics=["lpips"], options=Options(lpips_weights=path))
        .output["lpips"]
        .mean
        is None
    )


@pytest.mark.usefixtures("lpips")
def test_lpips_weights_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQE_LPIPS_WEIGHTS", raising=False)
    with pytest.raises(VqeError, match=r"needs AlexNet's weights.*--lpips-weights"):
        LpipsMetric(None)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no checkpoint")
    for path in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(VqeError, match=path.name):
            LpipsMetric(path)
    other = tmp_path / "other.safetensors"
    save_file({**alexnet("net"), "net.slice1.0.weight": torch.zeros(1)}, other)
    with pytest.raises(VqeError, match=r"has no AlexNet tensor net\.slice1\.0\.weight"):
        LpipsMetric(other)


def test_lpips_is_that_of_its_package(tmp_path: Path) -> None:
    """Where the package is installed, which wants a torchvision that fits."""
    package = pytest.importorskip("lpips", exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]
    path = tmp_path / "alexnet.pth"
    torch.save(alexnet("features"), path)
    network = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    network.load_state_dict(alexnet("net"), strict=False)
    metric = LpipsMetric(path)
    draw = np.random.default_rng(4)
    gt, pred = draw.integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    metric.push(rgb_pair(gt, pred))
    sides = [torch.from_numpy(each).permute(2, 0, 1)[None] / 127.5 - 1 for each in (gt, pred)]
    assert metric.close() == [pytest.approx(float(network(*sides).detach()), rel=1e-5)]


def cvvdp_stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """A pycvvdp that remembers what it was given and finds 10 JOD less the mean difference."""
    calls: list[dict] = []

    def predict(test, reference, dim_order, frames_per_second):  # type: ignore[no-untyped-def]
        calls.append({"shape": tuple(test.shape), "order": dim_order, "rate": frames_per_second})
        assert test.dtype == reference.dtype == torch.uint8
        return 10 - (test.float() - reference.float()).abs().mean(), {}

    def judge(display_name: str, quiet: bool) -> SimpleNamespace:
        calls.append({"display": display_name})
        return SimpleNamespace(predict=predict)

    monkeypatch.setitem(sys.modules, "pycvvdp", SimpleNamespace(cvvdp=judge))
    return calls


def test_cvvdp_gets_the_whole_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = cvvdp_stand_in(monkeypatch)
    gt, pred = write(tmp_path / "gt.mkv", clip(4)), write(tmp_path / "pred.mkv", clip(4, noise=3))
    found = compare_pair(gt, pred, metrics=["cvvdp", "psnr"]).output["cvvdp"]
    assert calls == [{"display": "standard_fhd"}, {"shape": (4, 48, 64, 3), "order": "FHWC", "rate": 25.0}]
    assert len(set(found.values)) == 1 and 5 < found.mean < 10
    assert "standard_fhd" in found.source


def test_cvvdp_is_that_of_its_package(tmp_path: Path) -> None:
    """Where the package is installed."""
    package = pytest.importorskip("pycvvdp", exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]
    draw = np.random.default_rng(4)
    gt = draw.integers(0, 256, (3, 64, 96, 3)).astype(np.uint8)
    pred = (gt * 0.8).astype(np.uint8)
    metric = CvvdpMetric(rate=25)
    for sides in zip(gt, pred, strict=True):
        metric.push(rgb_pair(*sides))
    judge = package.cvvdp(display_name="standard_fhd", quiet=True)
    value = float(judge.predict(pred, gt, dim_order="FHWC", frames_per_second=25)[0])
    assert metric.close() == [pytest.approx(value, abs=1e-4)] * 3
    metric.discard()


@pytest.mark.parametrize(
    ("name", "module", "remedy"),
    [
        ("ssimulacra2", "ssimulacra2", r"vqe\[ssimulacra2\]"),
        ("cvvdp", "pycvvdp", "pip install cvvdp"),
        ("lpips", "lpips", "pip install lpips"),
    ],
)
def test_a_missing_package_is_said_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, remedy: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(VqeError, match=f"{name} needs the package {module}.*{remedy}"):
        METRICS[name].stream(Setup())
