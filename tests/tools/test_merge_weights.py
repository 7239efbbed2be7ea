"""Weights made of two files: means, parts, and files that do not fit."""

import json
from pathlib import Path

import pytest
import torch
from merge_weights import merge
from safetensors import safe_open
from safetensors.torch import save_file


def write(path: Path, **tensors: torch.Tensor) -> Path:
    header = {"arch": "qecnn", "config": {}, "card": {"name": path.stem}}
    save_file(tensors, path, metadata={"vqe": json.dumps(header)})
    return path


def test_the_mean_of_two_files(tmp_path: Path) -> None:
    one = write(tmp_path / "one.safetensors", a=torch.zeros(3), b=torch.ones(2, 2))
    two = write(tmp_path / "two.safetensors", a=torch.ones(3), b=torch.ones(2, 2))
    assert merge(one, two, tmp_path / "out.safetensors", 0.25, "") == 2
    with safe_open(tmp_path / "out.safetensors", "pt") as out:
        assert torch.equal(out.get_tensor("a"), torch.full((3,), 0.25))
        assert torch.equal(out.get_tensor("b"), torch.ones(2, 2))
        card = json.loads(out.metadata()["vqe"])["card"]
    assert card == {"name": "one", "merged": [{"with": "two.safetensors", "share": 0.25, "part": "all"}]}


def test_a_part_in_place_of_another(tmp_path: Path) -> None:
    one = write(tmp_path / "one.safetensors", **{"spatial.a": torch.zeros(3), "b": torch.zeros(2)})
    two = write(tmp_path / "two.safetensors", a=torch.ones(3))
    merge(one, two, tmp_path / "out.safetensors", 1.0, "spatial.")
    with safe_open(tmp_path / "out.safetensors", "pt") as out:
        assert torch.equal(out.get_tensor("spatial.a"), torch.ones(3))
        assert torch.equal(out.get_tensor("b"), torch.zeros(2))


@pytest.mark.parametrize("wrong", [{"c": torch.ones(3)}, {"a": torch.ones(4)}])
def test_files_that_do_not_fit(tmp_path: Path, wrong: dict[str, torch.Tensor]) -> None:
    one = write(tmp_path / "one.safetensors", a=torch.zeros(3))
    two = write(tmp_path / "two.safetensors", **wrong)
    with pytest.raises(SystemExit, match="two"):
        merge(one, two, tmp_path / "out.safetensors", 0.5, "")
    assert not (tmp_path / "out.safetensors").exists()
