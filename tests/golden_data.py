"""Reads the golden cases: data that public reference implementations made (some in tests/data/golden)."""

import json
from pathlib import Path
from typing import Any

import torch
from conftest import DATA, shared_path
from safetensors.torch import load_file
from torch import Tensor


def golden_path(name: str) -> Path:
    """The file in this repository where there is one, else the one of the shared truth (skips without it)."""
    inside = DATA / "golden" / name
    return inside if inside.exists() else shared_path(f"golden/{name}")


def description(name: str) -> dict[str, Any]:
    """The JSON beside a golden file."""
    return json.loads(golden_path(f"{name}.json").read_text())


def with_prefix(stored: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose keys start with `prefix` and a dot, keys without them."""
    return {key.removeprefix(f"{prefix}."): stored[key] for key in stored if key.startswith(f"{prefix}.")}


def tensors(name: str, part: str) -> dict[str, Tensor]:
    """The tensors of a golden file under `part` ("input", "output", "weights"), keys without it."""
    return with_prefix(load_file(golden_path(f"{name}.safetensors")), part)


def case_tensors(name: str, part: str, case: str) -> dict[str, Tensor]:
    """The same for one case of a file of many, of which this repository has some."""
    found = with_prefix(tensors(name, part), case)
    if found:
        return found
    return with_prefix(load_file(shared_path(f"golden/{name}.safetensors")), f"{part}.{case}")


def weights(names: list[str]) -> dict[str, Tensor]:
    """The merged float32 weights of several golden files; "(prefix X)" after a name goes before its keys."""
    merged: dict[str, Tensor] = {}
    for entry in names:
        name, _, rest = entry.partition(" (prefix ")
        prefix = rest.removesuffix(")")
        merged |= {prefix + key: value.float() for key, value in tensors(name, "weights").items()}
    return merged


def picture(codes: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1], as the reference saw them."""
    assert codes.dtype == torch.uint8
    return codes.float() / 255


def clip(case: dict[str, Any]) -> Tensor:
    """The clip (N, T, 3, H, W) that a JSON's `input.lqs` describes."""
    source = case["input"]["lqs"]
    frames = picture(tensors(source["file"], "input")[source["key"].removeprefix("input.")])
    index = torch.tensor(source["frames"])
    return frames[index] if index.dim() == 2 else frames[index][None]


def difference(actual: Tensor, expected: Tensor) -> float:
    """The largest absolute difference."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} is not {tuple(expected.shape)}"
    return (actual.double() - expected.double()).abs().max().item()
