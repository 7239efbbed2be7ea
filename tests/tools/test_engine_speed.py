"""Engines take turns in processes of their own, and the first is what the others are held against."""

import pytest
from engine_speed import ROOT, measured, started


def test_engines_take_turns() -> None:
    same = ["fast", "1", "64", "64", "fp32"]
    ways = [started(engine, ROOT, [*same, engine]) for engine in ("torch", "openvino")]
    try:
        rows = measured(ways, 2)
    finally:
        for way in ways:
            way.process.kill()
    assert [row["way"] for row in rows] == ["torch", "openvino"]
    assert rows[0]["ratio"] == 1 and all(0 < row["least_ms"] <= row["median_ms"] for row in rows)
    assert rows[1]["ratio"] == pytest.approx(rows[1]["least_ms"] / rows[0]["least_ms"])
