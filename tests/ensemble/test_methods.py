"""Each way of fusing against the same computed by numpy from its formula."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vqe_cli.ensemble.methods import Guard, MemberFrames, fused, rounded
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.weights.ensembles import Fusion

RGB = Colour("rgb", True, 8, (1, 1))
YUV = Colour("bt709", False, 8, (2, 2))
HEIGHT, WIDTH = 23, 18


def picture(seed: int, colour: Colour = RGB, smooth: bool = False) -> list[Tensor]:
    """Random planes of whole codes, float."""
    draw = np.random.default_rng(seed)
    chroma = (-(-HEIGHT // colour.subsampling[1]), -(-WIDTH // colour.subsampling[0]))
    sizes = [(HEIGHT, WIDTH), chroma, chroma]
    low, high = (100, 110) if smooth else (20, 220)
    codes = [draw.integers(low, high, size).astype(np.float32) for size in sizes]
    return [torch.from_numpy(plane)[None, None] for plane in codes]


def member_frames(
    *members: list[list[Tensor]], given: list[list[Tensor]] | None = None
) -> list[MemberFrames]:
    frames = [Frame(t, (np.zeros((1, 1), np.uint8),), t) for t in range(len(members[0]))]
    inputs = given or [None] * len(frames)
    return [
        MemberFrames(frame, tuple(of_frame), compressed)
        for frame, compressed, *of_frame in zip(frames, inputs, *members, strict=True)
    ]


def arrays(planes: list[Tensor]) -> list[np.ndarray]:
    return [plane[0, 0].double().numpy() for plane in planes]


@pytest.mark.parametrize("colour", [RGB, YUV], ids=["rgb", "yuv"])
@pytest.mark.parametrize("weights", [(), (2.0, 1.0, 1.0), (1.5, -0.25, -0.25)])
def test_members_are_weighted_and_nothing_is_rounded_on_the_way(colour, weights) -> None:
    members = [[picture(seed, colour)] for seed in range(3)]
    fusion = Fusion("weighted" if weights else "mean", weights)
    shares = np.array(weights or (1, 1, 1)) / sum(weights or (1, 1, 1))
    [(frame, planes)] = fused(member_frames(*members), fusion, colour)
    assert frame.index == 0
    for index, plane in enumerate(arrays(planes)):
        truth = sum(share * arrays(member[0])[index] for share, member in zip(shares, members, strict=True))
        np.testing.assert_allclose(plane, truth, atol=1e-4)
    whole = rounded(planes, 8)
    assert all(plane.dtype == torch.uint8 for plane in whole)
    np.testing.assert_array_equal(arrays(whole)[0], np.clip(np.round(arrays(planes)[0]), 0, 255))


def test_where_members_agree_every_code_stays() -> None:
    """Also at 16 bits, where a third of a large code is no float32."""
    codes = [torch.randint(0, 65536, (1, 1, 9, 7)).float() for _ in range(3)]
    [(_, planes)] = fused(member_frames([codes], [codes], [codes]), Fusion(), RGB)
    assert all(torch.equal(one, other) for one, other in zip(planes, codes, strict=True))


def test_a_mask_of_one_is_the_first_member() -> None:
    """out = M * A + (1 - M) * B, at chroma's size, too."""
    one, other = picture(1, YUV), picture(2, YUV)
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., : WIDTH // 2 + 1] = 1
    for share in (mask, torch.full_like(mask, 0.25)):
        [(_, planes)] = fused(
            member_frames([one], [other]), Fusion("gated"), YUV, lambda a, b, share=share: share
        )
        np.testing.assert_allclose(
            arrays(planes)[0],
            (share * one[0] + (1 - share) * other[0])[0, 0].numpy(),
            atol=1e-4,
        )
    np.testing.assert_allclose(arrays(planes)[1], (0.25 * one[1] + 0.75 * other[1])[0, 0], atol=1e-4)


def variance_of(planes: list[Tensor]) -> np.ndarray:
    """Variance of the mean of R, G and B over the 11x11 pixels around each pixel, by numpy alone."""
    gray = np.mean(arrays(planes), axis=0) / 255
    found = np.empty_like(gray)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            found[y, x] = gray[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6].var()
    return found


def test_adaptive_is_equations_4_to_6() -> None:
    """out = (1 - M) * A + M * B; M is B's local variance between the extremes over t-1, t, t+1."""
    steady = [picture(seed) for seed in range(4)]
    textured = [picture(10 + seed, smooth=seed == 2) for seed in range(4)]
    out = list(fused(member_frames(steady, textured), Fusion("adaptive"), RGB))
    assert [frame.index for frame, _ in out] == [0, 1, 2, 3]
    variances = [variance_of(planes) for planes in textured]
    for t, (_, planes) in enumerate(out):
        near = np.stack(variances[max(0, t - 1) : t + 2])
        mask = (variances[t] - near.min()) / (near.max() - near.min())
        truth = (1 - mask) * arrays(steady[t])[0] + mask * arrays(textured[t])[0]
        np.testing.assert_allclose(arrays(planes)[0], truth, atol=0.05)
    # The smooth frame among textured ones is the steadier member's.
    assert np.abs(arrays(out[2][1])[0] - arrays(steady[2])[0]).max() < 2


@pytest.mark.parametrize("count", [1, 2])
def test_adaptive_takes_the_steadier_member_where_all_is_flat(count: int) -> None:
    flat = [torch.full((1, 1, HEIGHT, WIDTH), 90.0)] * 3
    steady = [picture(seed) for seed in range(count)]
    out = list(fused(member_frames(steady, [flat] * count), Fusion("adaptive"), RGB))
    assert len(out) == count
    for (_, planes), truth in zip(out, steady, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(planes, truth, strict=True))


def test_the_guard_replaces_segments_that_stray() -> None:
    """Frames 2 and 3 of the first member lie 20 codes (22 dB) off; the third segment has one frame."""
    given = [picture(seed) for seed in range(5)]
    shifts = [1, 1, 20, 20, 1]
    first = [[plane + shift for plane in planes] for planes, shift in zip(given, shifts, strict=True)]
    safe = [[plane + 2 for plane in planes] for planes in given]
    guard = Guard(["keen", "safe"], limit_db=30, segment=2)
    fusion = Fusion("guard", segment=2)
    out = list(fused(member_frames(first, safe, given=given), fusion, RGB, guard=guard))
    changes = [float((planes[0] - given[t][0]).mean()) for t, (_, planes) in enumerate(out)]
    assert changes == [1, 1, 2, 2, 1]
    [sentence] = guard.sentences()
    assert "keen strays" in sentence and "1 of 3 segments" in sentence and "frame 2 (safe)" in sentence


def test_without_a_fit_member_the_safest_is_taken_and_without_straying_nothing_is_said() -> None:
    given, far = [picture(1)], [[plane + 30 for plane in picture(1)]]
    guard = Guard(["a", "b", "c"], limit_db=30, segment=4)
    farther = [[plane + 35 for plane in picture(1)]]
    [(_, planes)] = fused(
        member_frames(farther, farther, far, given=given), Fusion("guard", segment=4), RGB, guard=guard
    )
    assert torch.equal(planes[0], far[0][0])
    quiet = Guard(["a", "b"], limit_db=30, segment=4)
    list(fused(member_frames(given, far, given=given), Fusion("guard", segment=4), RGB, guard=quiet))
    assert quiet.sentences() == []
