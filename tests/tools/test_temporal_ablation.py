"""The judge of temporal networks, in small: designs start as the single-frame network, and are judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from temporal_designs import DESIGNS
from training_clips import make_data


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_starts_with_the_pictures_that_it_is_given(name: str) -> None:
    torch.manual_seed(0)
    clip = torch.rand(1, 3, 6, 32, 48)
    peaks, qp = torch.tensor([[False, True, False]]), torch.full((1, 3), 37.0)
    with torch.no_grad():
        out = DESIGNS[name]().eval()(clip, peaks, qp)
    assert torch.allclose(out, clip[:, :, 3:], atol=1e-5)


@pytest.mark.slow
def test_designs_are_judged(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", frames=8, size=(144, 160))
    out = tmp_path / "results.jsonl"
    command = [sys.executable, ROOT / "tools/temporal_ablation.py", "--data", data, "--out", out]
    command += ["--recipes", "qp37", "--steps", "2", "--minutes", "0.01"]
    command += ["--design", "motion fusion, blend", "--design", "crds, intermediate"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=500)
    alone, *judged = [json.loads(line) for line in out.read_text().splitlines()]
    assert alone["design"] == "fast alone" and "qp37" in alone["equal_steps"]["gain"]
    assert [row["design"] for row in judged] == ["motion fusion, blend", "crds, intermediate"]
    for row in judged:
        assert row["equal_steps"]["steps"] == 2 and "qp37" in row["equal_time"]["gain"]
        assert row["cpu_ms_per_frame"] > 0 and row["kmac_per_pixel"] > 0
