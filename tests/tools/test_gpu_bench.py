"""The bench for GPUs runs on a CPU, at tiny sizes, and writes figures that can be true."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_every_way_is_measured_or_says_why_not(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "tools/gpu_bench.py"), "--out", str(out), "--device", "cpu"]
    command += ["--size", "64x48", "--minutes", "0.01"]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    report = json.loads(out.read_text())
    assert report["matrix_tflops"] > 0
    rows = report["rows"]
    assert {row["model"] for row in rows} == {"fast", "balanced"}
    assert len({row["way"] for row in rows}) == 7
    plain = [row for row in rows if row["way"] == "bf16, channels last"]
    assert len(plain) == 2 and all(row["fps"] > 0 and row["tflops"] > 0 for row in plain)
    assert all("fps" in row or "skipped" in row or "failed" in row for row in rows)
    left_out = {row["way"].rpartition(", ")[2] for row in rows if "skipped" in row}
    assert left_out == {"CUDA graph", "torch.compile", "two streams", "4 pictures at once"}
