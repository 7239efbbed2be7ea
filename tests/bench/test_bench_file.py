"""What `vqe bench FILE` reckons hangs together, and is of every engine that can compute."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, shared_path
from tiny_weights import write_aligned, write_recurrent, write_tiny

from vqe_cli.bench.file import Spent, bench_file, middle, row, spread
from vqe_cli.machine import usable_cores
from vqe_cli.restore.chunks import ChunkSizes
from vqe_cli.video.reader import Reader

CLIP = "hevc/streams/hm_ldp_cuts.bin"


@pytest.mark.parametrize("write", [write_tiny, write_recurrent])
def test_rows_of_all_engines(write: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / "net.safetensors")
    options = {"device": "cpu", "precision": "fp32", "codec": "ffv1"}
    options["weights"] = (tmp_path / "net.safetensors",)
    steps: list[str] = []
    found = bench_file(ROOT / "samples/lq/bunny.mkv", [None], options, steps.append)
    assert [each["engine"] for each in found["rows"]] == ["torch", "openvino"]
    for each in found["rows"]:
        slowest = max(each[f"{part}_ms"] for part in ("decode", "network", "encode"))
        assert 0 < each["decode_ms"] < slowest and each["fps"] <= 1001 / slowest
        assert each["whole_file_s"] == pytest.approx(found["frames"] / each["fps"])
    assert found["auto"][0]["engine"] in ("torch", "openvino") and len(steps) == 3


def test_networks_that_openvino_cannot_compute(tmp_path: Path) -> None:
    weights = write_aligned(tmp_path / "net.safetensors")
    options = {"device": "cpu", "codec": "ffv1", "weights": (weights,), "frames": 2}
    found = bench_file(shared_path(CLIP), [None], options)
    assert [each["engine"] for each in found["rows"]] == ["torch"]
    assert found["frames"] == 2


def test_context_is_counted() -> None:
    """A frame takes 5 s, and 2 s more when it is kept; 32 kept ones come with 32 of context."""
    planned = SimpleNamespace(sizes=SimpleNamespace(chunks=ChunkSizes(32, 16, 4)))
    found = spread(Spent(3 * 5 + 2, 17), Spent(3 * 5 + 3 * 2, 21), 3, planned)
    assert found == Spent(12, 12)


def test_what_the_cores_share_is_a_bottleneck_too() -> None:
    summary = SimpleNamespace(model="x", engine="torch", precision="fp32", frames=10)
    busy = Spent(1.0, 1.0 * usable_cores())
    found = row(SimpleNamespace(summary=summary), busy, Spent(0.5, 0.5), busy)
    assert found["bottleneck"] == "all cores"
    assert found["whole_file_s"] == pytest.approx(10 * (2 + 0.5 / usable_cores()))


def test_the_middle_of_a_picture() -> None:
    with Reader(ROOT / "samples/lq/bunny.mkv", frames=1) as reader:
        [frame] = reader
    part = middle(frame, 200 * 120)
    luma, chroma = part.planes[:2]
    assert luma.size <= 200 * 120 and luma.shape == (2 * chroma.shape[0], 2 * chroma.shape[1])
    height, width = luma.shape
    top, left = (272 - height) // 2 // 16 * 16, (480 - width) // 2 // 16 * 16
    assert np.array_equal(luma, frame.planes[0][top : top + height, left : left + width])
    assert np.array_equal(
        chroma, frame.planes[1][top // 2 : (top + height) // 2, left // 2 : (left + width) // 2]
    )
    assert middle(frame, 10**9) is frame
