"""Bjøntegaard deltas against SciPy's PCHIP and on curves whose answer is known."""

import json

import numpy as np
import pytest
from conftest import DATA

from vqe_cli.errors import VqeError
from vqe_cli.measure.bdrate import bd_quality, bd_rate, pchip_slopes

CURVE = [(100.0, 30.0), (220.0, 33.0), (500.0, 35.5), (900.0, 37.0)]
CASES = json.loads((DATA / "metrics" / "bdrate.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case['anchor'])} points")
def test_equals_scipy(case: dict) -> None:
    assert bd_rate(case["anchor"], case["test"]) == pytest.approx(case["bd_rate_percent"], rel=1e-9)
    assert bd_quality(case["anchor"], case["test"]) == pytest.approx(case["bd_quality"], rel=1e-9)


def test_half_the_rate_is_minus_50_percent() -> None:
    assert bd_rate(CURVE, [(rate / 2, quality) for rate, quality in CURVE]) == pytest.approx(-50)


def test_one_decibel_more_is_one_decibel() -> None:
    assert bd_quality(CURVE, [(rate, quality + 1) for rate, quality in CURVE]) == pytest.approx(1)


def test_points_may_come_in_any_order() -> None:
    assert bd_rate(CURVE[::-1], CURVE) == pytest.approx(0, abs=1e-12)


def test_slopes_keep_the_shape() -> None:
    """Flat where the data turn, and no end slope against its secant."""
    slopes = pchip_slopes(np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 1, 5]))
    assert slopes[1] == slopes[2] == 0
    assert slopes[0] > 0


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (CURVE[:3], "at least 4 points"),
        ([*CURVE[:3], (900.0, 34.0)], "rises with the rate"),
        ([(rate, quality + 50) for rate, quality in CURVE], "share no range"),
        ([(0.0, 20.0), *CURVE], "rates above 0"),
        ([*CURVE, (2000.0, float("inf"))], "finite"),
    ],
)
def test_curves_that_cannot_be_compared(test: list[tuple[float, float]], says: str) -> None:
    with pytest.raises(VqeError, match=says):
        bd_rate(CURVE, test)
