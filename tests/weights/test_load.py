"""Files of `balanced` from before MotionFusion was a network of its own.

tests/data/weights holds one, tiny and of random weights (without its flow network, which is left out anyway),
with a clip and what the network of that time made of it; its flow network gave zeros.
"""

import hashlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vqe_cli.errors import VqeError
from vqe_cli.training.checkpoint import read_weights
from vqe_cli.weights.load import load_network, read_header
from vqe_cli.weights.registry import StageSpec, load_pipelines

DATA = ROOT / "tests/data/weights"
EARLIER = "earlier_balanced.safetensors"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return Path(shutil.copy(DATA / EARLIER, tmp_path))


@torch.inference_mode()
def made_of_the_clip(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network of a file makes of the clip, and what the earlier one made of it."""
    given = load_file(DATA / "earlier_balanced_clip.safetensors")
    network = load_network(StageSpec(str(path)))
    return network(given["clip"].float(), given["pqf"].bool(), given["qp"]), given["output"]


def rewritten(path: Path, **changed: torch.Tensor) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path) | changed, path, metadata=metadata)


def test_an_earlier_file_loads_and_computes_what_it_did(earlier: Path) -> None:
    found, expected = made_of_the_clip(earlier)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert read_header(earlier).arch == "motion_fusion"


def test_training_starts_from_an_earlier_file(earlier: Path) -> None:
    tensors, network = read_weights(earlier), load_network(StageSpec(str(earlier)))
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    "key",
    [
        "deform_align.forward_2.weight",
        "deform_align.backward_1.conv_offset.6.bias",
        "deform_align.forward_1.bias",
        "backbone.backward_2.main.0.weight",
        "backbone.forward_1.main.2.0.conv2.weight",
    ],
)
def test_what_alignment_has_learned_is_not_dropped_in_silence(key: str, earlier: Path) -> None:
    tensor = load_file(earlier)[key].clone()
    tensor.view(-1)[-1] += 0.5
    rewritten(earlier, **{key: tensor})
    with pytest.raises(VqeError, match=key):
        load_network(StageSpec(str(earlier)))


def test_files_and_checksums_are_renewed_in_place(
    earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten(earlier, **{"spynet.basic_module.0.basic_module.0.conv.bias": torch.ones(32)})
    before = hashlib.sha256(earlier.read_bytes()).hexdigest()
    registry = tmp_path / "weights.toml"
    registry.write_text(
        f"""default = "balanced"
[[pipeline]]
name = "balanced"
stages = [{{ file = "{EARLIER}", sha256 = "{before}" }}]
measured = [{{ on = "x265 QP 37", gain_db = 0.66, worst_db = 0.20 }}]
"""
    )
    text = registry.read_text()
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", str(registry), str(tmp_path)])
    for _ in range(2):  # the second time nothing is left to do
        runpy.run_path(str(ROOT / "tools/convert_weights.py"), run_name="__main__")
    after = hashlib.sha256(earlier.read_bytes()).hexdigest()
    assert registry.read_text() == text.replace(before, after) != text
    [stage] = load_pipelines(registry).pipelines[0].stages
    found, expected = made_of_the_clip(stage.path())
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    with safe_open(earlier, framework="pt") as file:
        header = json.loads(file.metadata()["vqe"])
        assert not any(key.startswith(("spynet", "deform", "backbone")) for key in file.keys())  # noqa: SIM118
    assert header["arch"] == "motion_fusion"
    assert header["card"]["name"] == "earlier"
    assert header["card"]["converted_from"] == {"arch": "pqf_basicvsrpp", "sha256": before}


def test_what_ships_is_converted() -> None:
    for path in (ROOT / "models").glob("balanced*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert json.loads(file.metadata()["vqe"])["arch"] == "motion_fusion"
