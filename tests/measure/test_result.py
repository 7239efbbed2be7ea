"""Statistics over frames and videos, on cases reckoned by hand."""

import math

import pytest

from vqe_cli.measure.result import Series, gain, gain_of, mean_of, peak_valley_difference


def series(*values: float | None, rising: bool = True) -> Series:
    return Series(values, tuple(range(len(values))), rising)


def test_means_are_over_frames_and_then_over_videos() -> None:
    """A short video weighs as much as a long one: (30+32+34)/3 = 32, (40+42)/2 = 41, (32+41)/2 = 36.5."""
    assert mean_of([series(30, 32, 34).mean, series(40, 42).mean]) == 36.5


def test_identical_frames_are_counted_apart() -> None:
    some = series(30.0, math.inf, 34.0)
    assert (some.mean, some.deviation, some.identical, some.identical_frames) == (32.0, 2.0, 1, (1,))
    assert (some.low(1), some.peak_valley) == (pytest.approx(30.04), None)
    assert some.best == (1, math.inf)
    assert series(math.inf, math.inf).mean == math.inf


def test_no_mean_is_made_of_infinities() -> None:
    """Two losses, one of them of a picture that equalled the truth: no gain stands over them."""
    assert mean_of([math.inf, 40.0]) == 40.0
    assert mean_of([-math.inf, -3.0]) == -3.0
    assert mean_of([-math.inf, -math.inf]) == -math.inf
    assert mean_of([math.inf, -math.inf]) is None
    assert mean_of([math.inf]) == math.inf


def test_gains_are_over_frames_that_differ_on_both_sides() -> None:
    assert gain(series(math.inf), series(math.inf)) == 0.0
    assert gain(series(math.inf), series(30.0)) == math.inf
    assert gain(series(30.0), series(math.inf)) == -math.inf
    assert gain(series(30.0, math.inf), series(math.inf, 30.0)) is None
    # The means are 40 and 30, and yet nothing was gained: of nine frames that equalled the truth none does.
    lost = gain_of(series(*[40.0] * 9, 29.0), series(*[math.inf] * 9, 30.0))
    assert (lost.value, lost.frames, lost.became, lost.ceased) == (-1.0, 1, 0, 9)


def test_what_does_not_apply_has_no_value() -> None:
    nothing = series(None, None)
    assert (nothing.mean, nothing.low(1), nothing.worst, nothing.deviation, nothing.peak_valley) == (
        None,
    ) * 5
    assert gain(series(1.0), nothing) is None
    assert mean_of([1.0, None]) is None


def test_lows_worst_and_best() -> None:
    values = series(*range(101))
    assert (values.low(1), values.low(10)) == (1, 10)
    assert (values.worst, values.best) == ((0, 0), (100, 100))
    falling = series(*range(101), rising=False)
    assert (falling.low(1), falling.low(10)) == (99, 90)
    assert (falling.worst, falling.best) == ((100, 100), (0, 0))


def test_deviation_is_of_the_population() -> None:
    assert series(30, 34).deviation == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Peaks 38, 37, 38 and valleys 34, 33: (37.5 - 34 + 37.5 - 33) / 2.
        ([38, 36, 34, 37, 33, 38], 4.0),
        # A run of equal values is one peak; ends count when they stand out: 5 and 4 over 1.
        ([1, 5, 5, 1, 2, 4], 3.5),
        ([1, 2, 3], None),
        ([3, 3, 3], None),
        ([3], None),
        ([], None),
    ],
)
def test_peaks_over_the_valleys_between_them(values: list[float], expected: float | None) -> None:
    assert peak_valley_difference(values) == expected


def test_the_harmonic_mean_is_libvmafs() -> None:
    found = Series((1.0, 3.0, None, math.inf), (0, 1, 2, 3)).harmonic_mean
    assert found == pytest.approx(2 / (1 / 2 + 1 / 4) - 1)
    assert Series((-1.0, 3.0), (0, 1)).harmonic_mean is None
    assert Series((None,), (0,)).harmonic_mean is None
