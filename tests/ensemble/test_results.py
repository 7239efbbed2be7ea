"""Finished results to one file: complete and exact, or nothing at all and one sentence."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from small_clips import MATRIX_BT601, clip, write, write_images

from vqe_cli.ensemble.results import Results, Writing, fuse_results
from vqe_cli.errors import VqeError
from vqe_cli.video.reader import Reader
from vqe_cli.weights.ensembles import Fusion

LOSSLESS = Writing(codec="ffv1")


def planes_of(path: Path) -> list[tuple[np.ndarray, ...]]:
    with Reader(path) as reader:
        return [frame.planes for frame in reader]


def shifted(frames, by: int):
    return [tuple(plane + np.uint8(by) for plane in planes) for planes in frames]


@pytest.fixture
def members(tmp_path: Path) -> tuple[Path, Path]:
    """Two results that differ by 3 codes everywhere."""
    return write(tmp_path / "a.mkv", clip(4)), write(tmp_path / "b.mkv", shifted(clip(4), 3))


@pytest.mark.parametrize(("weights", "shift"), [((), 2), ((1.0, 2.0), 2), ((1.0, 0.0), 0), ((-1.0, 2.0), 6)])
def test_the_file_holds_the_weighted_codes_rounded_once(tmp_path, members, weights, shift) -> None:
    """The mean lies 1.5 above even and odd codes: rounded to the nearest, even ones where it is a tie."""
    fusion = Fusion("weighted" if weights else "mean", weights)
    report = fuse_results(Results(members), tmp_path / "out.mkv", fusion, LOSSLESS)
    assert report.frames == 4 and report.shares == fusion.shares(2)
    for before, after in zip(clip(4), planes_of(tmp_path / "out.mkv"), strict=True):
        for one, other in zip(before, after, strict=True):
            truth = np.round(one + 1.5) if not weights else one.astype(float) + shift
            np.testing.assert_array_equal(other, truth)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mkv", "b.mkv", "out.mkv"}


def test_ten_bits_stay_ten_bits(tmp_path) -> None:
    def deep(frames):
        return [tuple(plane.astype(np.uint16) * 4 for plane in planes) for planes in frames]

    a = write(tmp_path / "a.mkv", deep(clip(2)), "yuv420p10le")
    b = write(tmp_path / "b.mkv", [tuple(p + 1 for p in planes) for planes in deep(clip(2))], "yuv420p10le")
    fuse_results(Results((a, b)), tmp_path / "out.mkv", Fusion("weighted", (1, 3)), LOSSLESS)
    with Reader(tmp_path / "out.mkv") as reader:
        assert reader.info.pix_fmt == "yuv420p10le" and reader.info.colour.matrix == "bt709"
    for one, other in zip(planes_of(b), planes_of(tmp_path / "out.mkv"), strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(one, other, strict=True))


def test_image_folders_fuse_into_a_folder(tmp_path) -> None:
    pictures = [[np.full((8, 6), level, np.uint8)] * 3 for level in (10, 20)]
    a, b = write_images(tmp_path / "a", pictures), write_images(tmp_path / "b", shifted(pictures, 2))
    fuse_results(Results((a, b)), tmp_path / "out", Fusion())
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["00001.png", "00002.png"]
    with av.open(str(tmp_path / "out" / "00002.png")) as container:
        assert np.all(next(container.decode(video=0)).to_ndarray(format="rgb24") == 21)


def test_the_guard_judges_a_whole_video(tmp_path, members) -> None:
    """The first result strays in its last frame alone, by so much that the mean over all is too low."""
    frames = clip(4)
    frames[3] = tuple(np.clip(plane.astype(int) + 90, 0, 255).astype(np.uint8) for plane in frames[3])
    wild = write(tmp_path / "wild.mkv", frames)
    source = members[0]
    for segment, expected in ((0, [3, 3, 3, 3]), (1, [0, 0, 0, 3])):
        out = tmp_path / f"out{segment}.mkv"
        fusion = Fusion("guard", limit_db=25, segment=segment)
        report = fuse_results(Results((wild, members[1]), source), out, fusion, LOSSLESS)
        assert report.method == "guard" and "wild.mkv strays" in report.warnings[0]
        found = [
            int(one[0][0, 0]) - int(two[0][0, 0])
            for one, two in zip(planes_of(out), planes_of(source), strict=True)
        ]
        assert found == expected
    with pytest.raises(VqeError, match="Name the compressed video with --lq"):
        fuse_results(Results(members), tmp_path / "no.mkv", Fusion("guard"), LOSSLESS)


def rated(path: Path, rate: int) -> Path:
    """The clip at another rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for index in range(4):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: write(path, clip(4, width=80)), r"other\.mkv and .*a\.mkv differ in their size: 80x48"),
        (lambda path: write(path, clip(3)), r"frame counts differ: .*a\.mkv has 4 and .*other\.mkv has 3"),
        (lambda path: write(path, clip(5)), r"frame counts differ: .*a\.mkv has 4 and .*other\.mkv has 5"),
        (lambda path: write(path, clip(4), matrix=MATRIX_BT601), "colour matrix: bt601 and bt709"),
        (
            lambda path: write(path, [tuple(p.astype(np.uint16) for p in f) for f in clip(4)], "yuv420p10le"),
            "bit depth: 10 and 8",
        ),
        (lambda path: write(path, [(f[0],) * 3 for f in clip(4)], "yuv444p"), "chroma subsampling: 1x1"),
        (lambda path: rated(path, 30), r"has 30 frames a second, .*a\.mkv 25"),
    ],
    ids=["size", "fewer", "more", "matrix", "depth", "chroma", "rate"],
)
def test_results_that_do_not_belong_together_are_refused(tmp_path, members, make, said) -> None:
    """Untagged ones are believed."""
    other = make(tmp_path / "other.mkv")
    with pytest.raises(VqeError, match=said) as refused:
        fuse_results(Results((members[0], other)), tmp_path / "out.mkv", Fusion(), LOSSLESS)
    assert refused.value.remedy
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    untagged = write(tmp_path / "untagged.mkv", clip(4), matrix=2)
    fuse_results(Results((members[0], untagged)), tmp_path / "out.mkv", Fusion(), LOSSLESS)


def test_no_member_is_overwritten(tmp_path, members) -> None:
    content = members[1].read_bytes()
    for member in members:
        with pytest.raises(VqeError, match="is the input itself"):
            fuse_results(Results(members), member, Fusion(), Writing(codec="ffv1", overwrite=True))
    assert members[1].read_bytes() == content
