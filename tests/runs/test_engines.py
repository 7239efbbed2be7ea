"""The engine is part of what a run is: same engine, same bytes; plan, report and fingerprint name it."""

from pathlib import Path

import pytest
from conftest import ROOT
from tiny_weights import write_tiny

from vqe_cli.runs.plan import plan
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def settings(weights: Path, output: Path, engine: str) -> Settings:
    options = {"device": "cpu", "frames": 5, "codec": "ffv1", "overwrite": True}
    return Settings(ROOT / "samples/lq/bunny.mkv", output, weights=(weights,), engine=engine, **options)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_same_bytes_again(weights: Path, tmp_path: Path, engine: str) -> None:
    chosen = settings(weights, tmp_path / "out.mkv", engine)
    report = enhance(chosen)
    first = (tmp_path / "out.mkv").read_bytes()
    enhance(chosen)
    assert (tmp_path / "out.mkv").read_bytes() == first
    assert report.plan.engine == engine and report.as_dict()["plan"]["engine"] == engine


def test_a_run_goes_on_with_its_own_engine(weights: Path, tmp_path: Path) -> None:
    plans = [plan(settings(weights, tmp_path / "out.mkv", name)) for name in ("torch", "openvino")]
    assert plans[0].fingerprint != plans[1].fingerprint
    assert [each.summary.engine for each in plans] == ["torch", "openvino"]
