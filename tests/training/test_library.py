"""Pairs are checked before training, decoded once within a bound, and drawn as (seed, step) say."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import shared_path
from training_clips import make_data, moving_picture, write_clip

from vqe_cli.errors import VqeError
from vqe_cli.training import data as clips
from vqe_cli.training.library import Library, decode_pairs, find_sources
from vqe_cli.training.sampler import Sampler
from vqe_cli.training.schema import DataConfig
from vqe_cli.video.colour import to_rgb
from vqe_cli.video.frame import Colour

CPU = torch.device("cpu")
SMALL = DataConfig({"qp37": 1.0}, frames=2, crop=32, batch=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=4, frames=5) / "train"


def library_of(folder: Path, config: DataConfig = SMALL) -> Library:
    return Library(find_sources(folder, list(config.recipes)), config, CPU, config.batch)


def test_a_pair_is_what_the_files_hold(data: Path) -> None:
    pair = next(pair for pair in library_of(data).pairs_at(0) if pair.lq.name == "002")
    with av.open(str(data / "lq/qp37/002.mkv")) as container:
        luma = [picture.to_ndarray()[:64] for picture in container.decode(video=0)]
    assert np.array_equal(pair.lq.planes[0], np.stack(luma))
    assert pair.lq.qp[0] == 34  # x265 at QP 37: the key picture
    assert pair.lq.pqf[0]
    assert pair.gt.frames == 5


def test_a_pair_knows_the_error_of_its_pictures(data: Path) -> None:
    """Of the whole picture, on 0 … 1; of one that is enlarged, of its enlargement."""
    pair = library_of(data).pairs_at(0)[0]
    given, truth = (clip.planes[0].astype(float) / 255 for clip in (pair.lq, pair.gt))
    assert pair.errors == pytest.approx(((given - truth) ** 2).mean(axis=(1, 2)), rel=1e-4)
    assert (pair.errors > 1e-5).all()
    tall = np.arange(64.0).reshape(1, 64, 1).repeat(48, 2)  # a ramp, which enlargement keeps as it is
    deep = replace(pair.gt, planes=((16 * tall).astype(np.uint16),), colour=Colour("gray", False, 12, (1, 1)))
    small = replace(pair.gt, planes=((tall[:, ::2, ::2] + 4).astype(np.uint8),))  # 3.5 too much
    assert clips.picture_errors(small, deep) == pytest.approx([(3.5 / 255) ** 2], rel=0.1)


@pytest.mark.parametrize(("pqf", "marks"), [("none", [0, 0, 0, 0, 0]), ("period", [1, 0, 0, 0, 1])])
def test_peaks_as_the_config_says(data: Path, pqf: str, marks: list[int]) -> None:
    config = DataConfig({"qp37": 1.0}, crop=32, pqf=pqf)
    pairs, problems, _ = decode_pairs(find_sources(data, ["qp37"])[:1], config)
    assert not problems
    assert pairs[0].lq.pqf.tolist() == marks


def test_stage_two_sees_what_stage_one_made_with_the_qps_of_the_bitstream(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    shutil.copytree(data, folder)
    shutil.copytree(folder / "raw", folder / "stage1/qp37")  # a perfect stage I
    config = DataConfig({"qp37": 1.0}, crop=32)
    pairs, problems, _ = decode_pairs(find_sources(folder, ["qp37"], "stage1")[:1], config)
    assert not problems
    assert np.array_equal(pairs[0].lq.planes[0], pairs[0].gt.planes[0])
    assert pairs[0].lq.qp[0] == 34
    write_clip(folder / "stage1/qp37/000.mkv", moving_picture(0, 4, 64, 64))
    _, problems, _ = decode_pairs(find_sources(folder, ["qp37"], "stage1")[:1], config)
    assert "stage1/qp37/000.mkv has 4 frames" in problems[0]
    (folder / "stage1/qp37/003.mkv").unlink()
    with pytest.raises(VqeError, match=r"lq/qp37/003.mkv has no .*stage1/qp37/003"):
        find_sources(folder, ["qp37"], "stage1")


def test_everything_wrong_with_the_data_at_once(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    shutil.copytree(data, folder)
    write_clip(folder / "lq/qp37/000.mkv", moving_picture(0, 4, 64, 64))
    write_clip(folder / "lq/qp37/001.mkv", moving_picture(1, 5, 96, 64))
    (folder / "lq/qp37/002.mkv").write_bytes(b"no video")
    with pytest.raises(VqeError) as raised:
        library_of(folder)
    for problem in (
        "000.mkv has 4 frames, its truth 5",
        "001.mkv is 96x64, its truth 64x64 (data.scale is 1)",
        "002.mkv",
    ):
        assert problem in raised.value.message
    shutil.copy(folder / "raw/001.mkv", folder / "raw/001.mp4")
    with pytest.raises(VqeError, match=r"001.mkv and .*001.mp4 have one name"):
        find_sources(folder, ["qp37"])
    (folder / "raw/001.mp4").unlink()
    (folder / "raw/003.mkv").unlink()
    with pytest.raises(VqeError, match=r"003.mkv has no truth .*; .*qp22 is not a folder"):
        find_sources(folder, ["qp37", "qp22"])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (DataConfig({"qp37": 1.0}, crop=96), "64x64, smaller than data.crop = 96"),
        (DataConfig({"qp37": 1.0}, crop=32, frames=9), "5 frames, data.frames asks for 9"),
        (
            DataConfig({"qp37": 1.0}, crop=32, cache_gib=1e-5),
            "alone takes .* more than half of data.cache_gib",
        ),
    ],
)
def test_data_that_the_config_cannot_use(data: Path, config: DataConfig, problem: str) -> None:
    with pytest.raises(VqeError, match=problem):
        library_of(data, config)


def test_picture_folders(data: Path, tmp_path: Path) -> None:
    """A truth of PNG pictures: the RGB that is learned from is theirs."""
    pictures = moving_picture(0, 5, 64, 64)
    folder = tmp_path / "train/raw/000"
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        with av.open(str(folder / f"{number:03d}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    (tmp_path / "train/lq/qp37").mkdir(parents=True)
    shutil.copy(data / "lq/qp37/000.mkv", tmp_path / "train/lq/qp37")
    [pair] = library_of(tmp_path / "train").pairs_at(0)
    truth = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(clips.clip_rgb(pair.gt, slice(None)), truth, atol=1e-5, rtol=0)
    assert (clips.clip_rgb(pair.lq, slice(None)) - truth).abs().mean() < 0.08


def test_duplicates_leave_both_sides() -> None:
    """`027_woman` by HM repeats frames 1, 13 and 25 bit for bit; its truth does not."""
    paths = [shared_path(f"corpus/train/{part}/027_woman.mkv") for part in ("lq/hm-ldp-qp37", "raw")]
    folder = paths[1].parent.parent
    sources = [s for s in find_sources(folder, ["hm-ldp-qp37"]) if s.name == "027_woman"]
    kept = [t for t in range(30) if t not in (1, 13, 25)]
    whole = clips.decode_clip(paths[1])
    for frames, left in ((27, kept), (28, list(range(30)))):
        [pair], problems, removed = decode_pairs(sources, DataConfig(crop=32, frames=frames))
        assert not problems
        assert removed == 30 - len(left)
        assert pair.lq.frames == pair.gt.frames == len(left)
        assert np.array_equal(pair.gt.planes[0], whole.planes[0][left])
    [pair], _, removed = decode_pairs(sources, DataConfig(crop=32, duplicates="keep"))
    assert (removed, pair.lq.frames) == (0, 30)


def test_more_than_the_cache_holds_comes_in_turns(data: Path) -> None:
    """Each clip with its truth takes 2 * 5 * 64 * 64 * 1.5 bytes; half a cache holds two of the four."""
    one = 2 * 5 * 64 * 64 * 1.5 / 2**30
    config = DataConfig({"qp37": 1.0}, frames=2, crop=32, batch=64, cache_gib=4.1 * one - one)
    library = library_of(data, config)
    assert len(library.groups) == 4
    assert library.steps_per_group == 1
    seen = []
    for step in range(8):
        [pair] = library.pairs_at(step)
        seen.append(pair.lq.name)
        assert len(library.turns) <= 2
    assert sorted(seen[:4]) == ["000", "001", "002", "003"]
    assert seen[4:] == seen[:4]
    # A resumed run sees what the straight one saw.
    assert library_of(data, config).pairs_at(6)[0].lq.name == seen[6]


def test_draws_depend_on_seed_and_step_alone(data: Path) -> None:
    library = library_of(data)
    sampler = Sampler(library, SMALL, seed=3)
    first, again = sampler.batch(5), Sampler(library, SMALL, seed=3).batch(5)
    assert torch.equal(first.lq, again.lq)
    assert first.seeds == again.seeds
    assert not torch.equal(first.lq, sampler.batch(6).lq)
    batches = sampler.batches(5)
    assert torch.equal(next(batches).gt, first.gt)
    batches.close()


def test_two_processes_draw_what_one_draws_with_twice_the_batch(data: Path) -> None:
    library = library_of(data)
    whole = Sampler(library, DataConfig({"qp37": 1.0}, frames=2, crop=32, batch=6), seed=1).batch(4)
    parts = [Sampler(library, SMALL, seed=1, rank=rank, size=2).batch(4) for rank in (0, 1)]
    for name in ("lq", "gt", "pqf"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert parts[0].seeds + parts[1].seeds == whole.seeds


@pytest.mark.parametrize("colours", range(16))
def test_recoloured_is_what_a_codec_could_have_been_given(colours: int) -> None:
    """Inverted and exchanged in the planes of codes, of 4:4:4 in limited range."""
    colour = Colour("bt709", False, 8, (1, 1))
    planes = [torch.randint(16, 236, (2, 1, 8, 8)).float() for _ in range(3)]
    changed = [251 - planes[0] if colours & 1 else planes[0]]
    for bit, plane in zip((2, 4), planes[1:], strict=True):
        changed.append(256 - plane if colours & bit else plane)
    if colours & 8:
        changed[1:] = changed[:0:-1]
    wanted = to_rgb(changed, colour)
    given = to_rgb(planes, colour)
    both = clips.recoloured(torch.stack([given, given]), [colours, 0])
    torch.testing.assert_close(both[0], wanted)
    torch.testing.assert_close(both[1], given)


def test_both_sides_are_recoloured_alike(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "raw", tmp_path / "raw")
    shutil.copytree(data / "raw", tmp_path / "lq/qp37")  # a perfect codec
    plain, varied = (
        Sampler(library_of(tmp_path), replace(SMALL, batch=8, recoloured=share), seed=0).batch(0)
        for share in (0.0, 1.0)
    )
    assert torch.equal(varied.lq, varied.gt)
    assert not torch.allclose(plain.lq, varied.lq, atol=0.1)


def test_recipes_are_mixed_by_their_weights(tmp_path: Path) -> None:
    folder = make_data(tmp_path, ("qp37", "qp22"), clips=1, frames=2) / "train"
    config = DataConfig({"qp37": 3.0, "qp22": 1.0}, crop=32, batch=400, unknown_qp=0.25)
    draws = Sampler(library_of(folder, config), config, seed=0).draw(0)
    recipes = Counter(draw.pair.recipe for draw in draws)
    assert 270 < recipes["qp37"] < 330
    assert 70 < sum(draw.hidden for draw in draws) < 130
    assert {draw.turn for draw in draws} == set(range(8))
    assert all(draw.top % 2 == 0 and draw.left % 2 == 0 for draw in draws)


def test_crops_are_pieces_of_the_whole_frames(data: Path) -> None:
    library = library_of(data)
    sampler = Sampler(library, SMALL, seed=0)
    batch, draws = sampler.batch(0), sampler.draw(0)
    for n, d in enumerate(draws):
        whole = clips.clip_rgb(d.pair.gt, slice(d.first, d.first + 2))
        crop = clips.turned(whole[..., d.top : d.top + 32, d.left : d.left + 32], d.turn)
        # At the crop's edge chroma is interpolated from fewer samples.
        inner = (..., slice(2, -2), slice(2, -2))
        torch.testing.assert_close(batch.gt[n][inner], crop[inner])
        hidden = torch.isnan(batch.qp[n]).all()
        assert bool(hidden) == d.hidden
