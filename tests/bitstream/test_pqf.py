"""Peak quality frames: both rules on every stream, and cases that no stream has."""

import json
import random

import pytest
from hevc_truth import COPIES, names, truth

from vqe_cli.bitstream import peaks as pqf
from vqe_cli.bitstream.peaks import PeakMarker
from vqe_cli.errors import VqeError

EXPECTED = json.loads((COPIES / "pqf_expected.json").read_text())
KEYS = {"minima": "qp", "prominent": "prominent"}


def marked(marks: list[bool]) -> list[int]:
    return [t for t, mark in enumerate(marks) if mark]


def marks_with_cuts(qps, irap, sequence, cut, rule) -> list[bool]:
    """The whole video's peaks; a cut begins a sequence, with a frame that always counts."""
    parts = [number + sum(cut[: t + 1]) for t, number in enumerate(sequence)]
    return pqf.mark(qps, [a or b for a, b in zip(irap, cut, strict=True)], parts, rule)


def one_by_one(qps, irap, sequence, cut=None, **options) -> tuple[list[bool], int]:
    """The streaming marker's decisions and how many frames the latest of them waited."""
    marker = PeakMarker(**options)
    decisions: list[bool] = []
    longest = 0
    for t, frame in enumerate(zip(qps, irap, sequence, cut or [False] * len(qps), strict=True)):
        decisions += marker.push(*frame)
        longest = max(longest, t + 1 - len(decisions))
    return decisions + marker.finish(), longest


@pytest.mark.parametrize("rule", pqf.RULES)
@pytest.mark.parametrize("name", names("streams"))
def test_peaks_of_streams(name: str, rule: str):
    frames = truth(name)[1]
    qps = [frame.slice_qps[0] for frame in frames]
    irap = [16 <= frame.nal_type <= 21 for frame in frames]
    sequence = [frame.sequence for frame in frames]
    expected = EXPECTED[name.split("/")[1].split(".")[0]][KEYS[rule]]
    assert marked(pqf.mark(qps, irap, sequence, rule)) == expected
    assert marked(one_by_one(qps, irap, sequence, rule=rule)[0]) == expected


def test_low_delay_cascade_is_decided_within_two_frames():
    qps = [36] + [45, 44, 45, 38] * 8
    irap = [t == 0 for t in range(len(qps))]
    decisions, longest = one_by_one(qps, irap, [0] * len(qps))
    assert marked(decisions) == list(range(0, 33, 4))
    assert longest <= 2


def random_video(generator: random.Random):
    count = generator.randrange(24)
    spread = generator.choice([1, 2, 4, 8])
    qps = [None if generator.random() < 0.1 else 30 + generator.randrange(spread) for _ in range(count)]
    irap = [generator.random() < 0.1 for _ in range(count)]
    cut = [generator.random() < 0.05 for _ in range(count)]
    sequence = sorted(generator.randrange(3) for _ in range(count))
    return qps, irap, sequence, cut


@pytest.mark.parametrize("rule", pqf.RULES)
def test_frame_by_frame_equals_whole_video(rule: str):
    generator = random.Random(3)
    for _ in range(500):
        qps, irap, sequence, cut = random_video(generator)
        expected = marks_with_cuts(qps, irap, sequence, cut, rule)
        assert one_by_one(qps, irap, sequence, cut, rule=rule)[0] == expected
        short, longest = one_by_one(qps, irap, sequence, cut, rule=rule, horizon=3)
        assert len(short) == len(qps)
        assert longest <= 3


def test_equal_qps_are_marked_by_period_until_they_change():
    qps = [32] * 50 + [40, 39, 40, 33, 40]
    decisions, longest = one_by_one(qps, [False] * 55, [0] * 55, horizon=16)
    assert marked(decisions) == [*range(0, 50, 4), 53]
    assert longest <= 16


@pytest.mark.parametrize("mode", ["auto", "qp", "hm-log", "period"])
def test_unknown_and_flat_qps_take_the_period(mode: str):
    for qps in ([None] * 9, [37] * 9, [37, None] * 4 + [37]):
        assert marked(pqf.mark(qps, [True] * 9, [0] * 9, mode=mode)) == [0, 4, 8]
        assert marked(one_by_one(qps, [True] * 9, [0] * 9, mode=mode)[0]) == [0, 4, 8]
    assert marked(pqf.mark([None] * 7, [False] * 7, [0] * 7, mode=mode, period=3)) == [0, 3, 6]


def test_modes_that_ignore_qps():
    qps = [36, 45, 44, 45, 38, 45]
    assert marked(pqf.mark(qps, [False] * 6, [0] * 6, mode="none")) == []
    assert marked(pqf.mark(qps, [False] * 6, [0] * 6, mode="period", period=5)) == [0, 5]
    assert marked(one_by_one(qps, [False] * 6, [0] * 6, mode="none")[0]) == []
    assert marked(one_by_one(qps, [False] * 6, [0] * 6, mode="period", period=5)[0]) == [0, 5]


def test_a_scene_cut_is_a_peak_and_a_border():
    qps = [36, 45, 44, 45, 45, 44, 45, 38]
    cut = [t == 4 for t in range(8)]
    assert marked(pqf.mark(qps, [False] * 8, [0] * 8)) == [0, 7]
    assert marked(one_by_one(qps, [False] * 8, [0] * 8, cut)[0]) == [0, 4, 7]


def test_an_unknown_qp_is_passed_over():
    assert marked(pqf.mark([36, 45, None, 45, 38], [False] * 5, [0] * 5)) == [0, 4]
    assert marked(pqf.mark([40, None, 36, 45], [False] * 4, [0] * 4)) == [2]


@pytest.mark.parametrize("wrong", [{"rule": "best"}, {"mode": "psnr"}, {"period": 0}])
def test_unknown_choices_are_refused(wrong: dict):
    with pytest.raises(VqeError) as raised:
        pqf.mark([1], [True], [0], **wrong)
    assert raised.value.remedy
    with pytest.raises(VqeError):
        PeakMarker(**wrong)
