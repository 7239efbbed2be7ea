"""From decoded frames to enhanced ones on real video with tiny networks: what must not change, does not."""

import json
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shared_path
from safetensors.torch import save_file
from tiny_weights import write_recurrent, write_tiny, write_zero

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.restore import stages
from vqe_cli.restore.choices import PeakRule
from vqe_cli.restore.chunks import Tally, decided_chunks, frames_held
from vqe_cli.restore.engine import Engine, load
from vqe_cli.restore.marking import FRAMES_WAITING
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.settings import Settings
from vqe_cli.video.colour import to_rgb, to_tensors
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.video.reader import Reader

Planes = tuple[np.ndarray, ...]
CLIP = "hevc/streams/hm_ldp_cuts.bin"


def decoded(path: Path, count: int | None = None) -> tuple[list[Frame], Colour]:
    with Reader(path, frames=count) as reader:
        return list(reader), reader.info.colour


def settings_for(*weights: Path, **chosen: object) -> Settings:
    options = {"device": "cpu", "precision": "fp32", **chosen}
    return Settings(Path("in.mkv"), Path("out.mkv"), weights=weights, **options)


def engine_for(settings: Settings, frames: list[Frame], colour: Colour) -> Engine:
    return load(settings.networks).start(settings.sizes, colour, frames[0].planes[0].shape)


def enhanced_frames(
    frames: Iterable[Frame], peaks: PeakRule, engine: Engine, tally: Tally
) -> Iterator[tuple[Frame, Planes]]:
    """Decoded frames in display order to the same frames with enhanced planes."""
    summaries = measured(frames, engine.colour)
    return engine.enhanced(decided_chunks(summaries, peaks, engine.sizes.chunks, tally))


def enhance(settings: Settings, frames: list[Frame], colour: Colour) -> list[tuple[Frame, Planes]]:
    return list(enhanced_frames(frames, settings.peaks, engine_for(settings, frames, colour), Tally()))


@pytest.fixture(scope="module")
def clip() -> tuple[list[Frame], Colour]:
    """A corner of 96x64 of a clip with cuts at 17 and 31."""
    frames, colour = decoded(shared_path(CLIP))
    corners = [(64, 96), (32, 48), (32, 48)]
    cut = [
        tuple(p[8 : 8 + h, 8 : 8 + w] for p, (h, w) in zip(f.planes, corners, strict=True)) for f in frames
    ]
    return [replace(frame, planes=planes) for frame, planes in zip(frames, cut, strict=True)], colour


def equal(one, other) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("matrix", ["bt709", "bt2020nc", "rgb", "gray"])
def test_a_network_that_changes_nothing_leaves_every_code(tmp_path, matrix: str, bits: int) -> None:
    """Also codes outside of the nominal range, at an odd size, in both stages."""
    draw = np.random.default_rng(1)
    sub = (2, 2) if matrix.startswith("bt") else (1, 1)
    shapes = [(37, 51), (19, 26), (19, 26)] if sub == (2, 2) else [(37, 51)] * (1 if matrix == "gray" else 3)
    dtype = np.uint8 if bits == 8 else np.uint16
    frames = [
        Frame(t, tuple(draw.integers(0, 2**bits, shape).astype(dtype) for shape in shapes), t, qp=30.0 + t)
        for t in range(3)
    ]
    colour = Colour(matrix, False, bits, sub)
    zero = write_zero(tmp_path / "zero.safetensors")
    still = write_recurrent(tmp_path / "still.safetensors", zero=True)
    for settings in (settings_for(still, zero), settings_for(zero, tta=8), settings_for(zero, tile=32)):
        out = enhance(settings, frames, colour)
        assert [frame.index for frame, _ in out] == [0, 1, 2]
        if settings.tile:  # the fade of two tiles rounds in the seventh digit, far below half a code
            assert all(equal(planes, frame.planes) for frame, planes in out)
        assert all(equal(planes, frame.planes) for frame, planes in out)


def test_enlarging_adds_to_the_enlarged_planes(tmp_path, clip) -> None:
    frames, colour = clip[0][:2], clip[1]
    out = enhance(settings_for(write_zero(tmp_path / "x2.safetensors", scale=2), scale=2), frames, colour)
    height, width = frames[0].planes[0].shape
    assert [plane.shape for plane in out[0][1]] == [(2 * height, 2 * width), (height, width), (height, width)]
    rgb = to_rgb(to_tensors(frames[0].planes), colour)
    wanted = torch.nn.functional.interpolate(rgb, scale_factor=2, mode="bicubic")
    assert (to_rgb(to_tensors(out[0][1]), colour) - wanted).abs().mean() < 0.004  # one code


def test_frames_go_to_the_network_as_they_are(tmp_path, clip, monkeypatch) -> None:
    """RGB by the stream's matrix, peaks and QPs (NaN where unknown) beside it, scenes apart."""
    frames, colour = clip
    frames = [replace(frame, network_qp=None) if frame.index == 2 else frame for frame in frames]
    settings = settings_for(write_recurrent(tmp_path / "net.safetensors"), overlap=2, chunk=8)
    engine, seen = engine_for(settings, frames, colour), []
    network = engine.stages[0].network
    original = network.forward
    monkeypatch.setattr(network, "forward", lambda *args: seen.append(args[:3]) or original(*args))
    tally = Tally()
    out = list(enhanced_frames(frames, settings.peaks, engine, tally))
    assert [frame.index for frame, _ in out] == list(range(48))
    assert tally.scene_cuts == 2 and tally.peaks.source(settings.peaks) == "qp"
    for rgb, pqf, qp in seen:
        assert rgb.shape[:3] == (1, pqf.shape[1], 3) and qp.shape == pqf.shape
    first = seen[0]
    assert torch.allclose(first[0][0, :1], to_rgb(to_tensors(frames[0].planes), colour))
    assert first[2][0, :4].isnan().tolist() == [False, False, True, False]
    assert first[2][0, 0] == frames[0].qp
    # Cuts at 17 and 31: no clip spans them.
    starts = [
        int(
            np.argmin(
                [float((to_rgb(to_tensors(f.planes), colour) - rgb[0, :1]).abs().mean()) for f in frames]
            )
        )
        for rgb, _, _ in seen
    ]
    for start, (rgb, _, _) in zip(starts, seen, strict=True):
        assert not any(start < cut < start + rgb.shape[1] for cut in (17, 31))


def test_duplicates_get_the_enhanced_copy(tmp_path, clip) -> None:
    """Doubled frames give the doubled result: the network never sees the second ones."""
    frames, colour = clip[0][:12], clip[1]
    settings = settings_for(write_recurrent(tmp_path / "net.safetensors"), pqf="none")
    plain = enhance(settings, frames, colour)
    doubled = []
    for frame in frames:
        doubled.append(replace(frame, index=2 * frame.index))
        doubled.append(replace(frame, index=2 * frame.index + 1, duplicate_of=2 * frame.index))
    out = enhance(settings, doubled, colour)
    assert [frame.index for frame, _ in out] == list(range(24))
    assert all(equal(out[2 * t][1], plain[t][1]) and equal(out[2 * t + 1][1], plain[t][1]) for t in range(12))


def test_both_stages_run_one_after_the_other(tmp_path, clip) -> None:
    frames, colour = clip[0][:5], clip[1]
    write_tiny(tmp_path / "a.safetensors"), write_tiny(tmp_path / "b.safetensors", seed=2)
    files = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    engine = engine_for(settings_for(*files), frames, colour)
    clip_rgb = torch.cat([to_rgb(to_tensors(frame.planes), colour) for frame in frames])
    qp = torch.tensor([frame.qp for frame in frames])
    with torch.inference_mode():
        wanted = engine.stages[1].network(engine.stages[0].network(clip_rgb, qp), qp)
    out = enhance(settings_for(*files), frames, colour)
    rgb = to_rgb([torch.from_numpy(np.stack([p[i] for _, p in out]))[:, None] for i in range(3)], colour)
    # Random networks make colour noise that 4:2:0 cannot hold, so the means of blocks are compared.
    assert torch.nn.functional.avg_pool2d(rgb - wanted, 8).abs().mean() < 0.003
    only = [enhance(settings_for(*files, stages=which), frames, colour)[0][1] for which in ("1", "2", "both")]
    assert equal(only[2], out[0][1]) and not equal(only[0], only[1]) and not equal(only[0], only[2])


def test_gray_takes_the_mean_of_the_three_channels(tmp_path, clip) -> None:
    frames = [replace(frame, planes=frame.planes[:1]) for frame in clip[0][:2]]
    colour = Colour("gray", False, 8, (1, 1))
    write_tiny(tmp_path / "a.safetensors")
    settings = settings_for(tmp_path / "a.safetensors")
    out = enhance(settings, frames, colour)
    engine = engine_for(settings, frames, colour)
    rgb = to_rgb(to_tensors(frames[0].planes), colour)
    with torch.inference_mode():
        residual = (engine.stages[0].network(rgb, torch.tensor([frames[0].qp])) - rgb).mean(dim=1)[0]
    wanted = frames[0].planes[0] + torch.round(219 * residual).numpy()
    assert np.array_equal(out[0][1][0], np.clip(wanted, 0, 255).astype(np.uint8))


def test_a_network_that_breaks_is_told(tmp_path, clip) -> None:
    network = networks.build("qecnn", {"channels": 4, "blocks": 1})
    network.tail.bias.data.fill_(float("inf"))
    header = {"arch": "qecnn", "config": {"channels": 4, "blocks": 1}}
    path = tmp_path / "broken.safetensors"
    save_file(network.state_dict(), path, metadata={"vqe": json.dumps(header)})
    with pytest.raises(VqeError, match=r"stage 1 .*fp32"):
        enhance(settings_for(path), clip[0][:1], clip[1])


def test_stage_two_of_a_pipeline_without_one(tmp_path) -> None:
    with pytest.raises(VqeError, match="no stage II"):
        load(settings_for(write_zero(tmp_path / "zero.safetensors"), stages="both").networks)


def test_strength_by_qp(tmp_path, clip) -> None:
    """Below the first QP of the ramp nothing is changed, above the last all, in between a share."""
    frames, colour = clip[0][:3], clip[1]
    frames = [replace(frame, network_qp=qp) for frame, qp in zip(frames, (20.0, 25.0, None), strict=True)]
    write_tiny(tmp_path / "a.safetensors")
    settings = settings_for(tmp_path / "a.safetensors", chunk=1)
    engine = engine_for(settings, frames, colour)
    full = [planes for _, planes in enhanced_frames(frames, settings.peaks, engine, Tally())]
    engine.pipeline = replace(engine.pipeline, residual_scale=((20.0, 0.0), (30.0, 1.0)))
    out = [planes for _, planes in enhanced_frames(frames, settings.peaks, engine, Tally())]
    assert equal(out[0], frames[0].planes) and equal(out[2], full[2])
    change, half = (planes[0].astype(float) - frames[1].planes[0] for planes in (full[1], out[1]))
    assert np.abs(half - change / 2)[(full[1][0] > 0) & (full[1][0] < 255)].max() <= 1


def test_an_average_of_turns_is_made_stronger(tmp_path, clip) -> None:
    """What the TTA noise ratio asks for reaches the written change, only where answers are averaged."""
    frames, colour = clip[0][:1], clip[1]
    write_tiny(tmp_path / "a.safetensors")
    out = {}
    for tta in (1, 8):
        settings = settings_for(tmp_path / "a.safetensors", chunk=1, tta=tta)
        engine = engine_for(settings, frames, colour)
        for ratio in (0.0, 0.5):
            engine.pipeline = replace(engine.pipeline, tta_noise_ratio=ratio)
            [(_, planes)] = enhanced_frames(frames, settings.peaks, engine, Tally())
            out[tta, ratio] = planes
    assert equal(out[1, 0.0], out[1, 0.5])
    plain, strong = (out[8, ratio][0].astype(float) - frames[0].planes[0] for ratio in (0.0, 0.5))
    inside = (out[8, 0.5][0] > 0) & (out[8, 0.5][0] < 255)
    assert np.abs(strong - plain * 1.5 / (1 + 0.5 / 8))[inside].max() <= 1.3
    assert np.abs(plain).max() > 3


def test_a_pipeline_may_want_turns_where_the_user_asks_for_none(tmp_path, clip) -> None:
    frames, colour = clip[0][:1], clip[1]
    write_tiny(tmp_path / "a.safetensors")
    found = {}
    for wanted, asked in ((1, None), (1, 2), (2, None), (2, 1)):
        settings = settings_for(tmp_path / "a.safetensors", chunk=1, tta=asked)
        loaded = load(settings.networks)
        wanting = replace(loaded, pipeline=replace(loaded.pipeline, defaults={"tta": wanted}))
        engine = wanting.start(settings.sizes, colour, frames[0].planes[0].shape)
        [(_, found[wanted, asked])] = enhanced_frames(frames, settings.peaks, engine, Tally())
    assert not equal(found[1, None], found[1, 2])
    assert equal(found[2, None], found[1, 2]) and equal(found[2, 1], found[1, None])


def test_memory_does_not_grow_with_length(tmp_path) -> None:
    """Of 400 frames at most the stated number lives at any time, standstills included."""
    draw, alive, most = np.random.default_rng(0), [0], 0
    colour = Colour("gray", False, 8, (1, 1))
    settings = settings_for(write_zero(tmp_path / "zero.safetensors"), chunk=5)

    def died() -> None:
        alive[0] -= 1

    def source() -> Iterator[Frame]:
        for t in range(400):
            plane = draw.integers(60, 70, (16, 16)).astype(np.uint8)
            weakref.finalize(plane, died)
            alive[0] += 1
            yield Frame(t, (plane,), t, qp=30.0 + t % 4, duplicate_of=t - 1 if 100 < t < 150 else None)

    first = Frame(0, (np.zeros((16, 16), np.uint8),), 0)
    engine = engine_for(settings, [first], colour)
    for count, (frame, _) in enumerate(enhanced_frames(source(), settings.peaks, engine, Tally())):
        assert frame.index == count
        most = max(most, alive[0])
    assert count == 399
    assert most <= FRAMES_WAITING + 2 + frames_held(engine.sizes.chunks) + engine.sizes.chunks.window


def test_pictures_in_batches(tmp_path, clip, monkeypatch) -> None:
    """What a GPU does, several pictures at once, gives the same."""
    write_tiny(tmp_path / "a.safetensors")
    settings = settings_for(tmp_path / "a.safetensors")
    single = enhance(settings, clip[0][:7], clip[1])
    monkeypatch.setitem(stages.BATCH_PIXELS, "cpu", 3 * 64 * 96)
    together = enhance(settings, clip[0][:7], clip[1])
    for (_, one), (_, other) in zip(single, together, strict=True):
        assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(one, other, strict=True))
