"""Several pipelines on one input in one go equal the same pipelines one by one, fused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_clips import clip, write
from tiny_weights import write_registry, write_tiny

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.restore.chunks import Tally, decided_chunks
from vqe_cli.restore.ensemble import EnsembleEngine, load_model
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings
from vqe_cli.video.colour import residual_to_planes, to_rgb, to_tensors
from vqe_cli.video.reader import Reader
from vqe_cli.weights.ensembles import find_ensemble, load_ensembles, model_names

ENSEMBLES = """
[ensembles.duo]
members = ["tiny", "pair"]
weights = [3, 1]
description = "two random ones"
measured = [{ on = "noise", gain_db = -1.0 }]

[ensembles.even]
members = ["tiny", "pair"]

[ensembles.careful]
members = ["tiny", "pair"]
method = "guard"
limit_db = 99
segment = 2

[ensembles.masked]
members = ["tiny", "pair"]
gate = { file = "gate.safetensors" }

[ensembles.textured]
members = ["tiny", "pair"]
method = "adaptive"
"""


def write_gate(path: Path, bias: float) -> str:
    """A mask network that says the same everywhere: sigmoid(bias). Gives the file's sha256."""
    config = {"channels": 4, "blocks": 1}
    state = networks.build("gate", config).state_dict()
    state["tail.bias"].fill_(bias)
    save_file(state, path, metadata={"vqe": json.dumps({"arch": "gate", "config": config, "card": {}})})
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """weights.toml with ensembles and a clip of seven frames, of which two repeat."""
    path = write_registry(tmp_path)
    write_gate(tmp_path / "gate.safetensors", bias=30)
    path.write_text(path.read_text() + ENSEMBLES)
    monkeypatch.setenv("VQE_WEIGHTS_TOML", str(path))
    frames = clip(5)
    write(tmp_path / "in.mkv", [*frames[:2], frames[1], *frames[2:], frames[4]])
    return tmp_path


def settings(folder: Path, model: str, **chosen: object) -> Settings:
    options = {"device": "cpu", "precision": "fp32", "codec": "ffv1", "chunk": 3, **chosen}
    return Settings(folder / "in.mkv", folder / f"{model}.mkv", model=model, **options)


def planes_of(path: Path) -> list[tuple[np.ndarray, ...]]:
    with Reader(path) as reader:
        return [frame.planes for frame in reader]


def assert_same(one: Path, other: Path) -> None:
    """Equal but for one sample in 10,000: a code plus a change near a half may be rounded the other way."""
    differences = [
        np.abs(p.astype(int) - q)
        for first, second in zip(planes_of(one), planes_of(other), strict=True)
        for p, q in zip(first, second, strict=True)
    ]
    assert max(each.max() for each in differences) <= 1
    assert sum(each.sum() for each in differences) <= sum(each.size for each in differences) / 10_000


def floats_of(folder: Path, model: str, **chosen: object) -> list[list[np.ndarray]]:
    """A pipeline's planes before rounding: what its engine computes, worked out from its pictures."""
    wanted = settings(folder, model, **chosen)
    with Reader(wanted.input) as reader:
        colour, frames = reader.info.colour, list(reader)
    engine = load_model(wanted.networks).start(wanted.sizes, colour, frames[0].planes[0].shape)
    found = []
    summaries = measured(frames, colour)
    for chunk in decided_chunks(summaries, wanted.peaks, engine.sizes.chunks, Tally()):
        planes = [to_tensors(frame.planes) for frame in chunk.frames]
        pictures = engine.pictures(chunk, engine.rgb(planes))
        for picture, decoded, shown in zip(
            pictures, planes[chunk.start : chunk.stop], chunk.shown, strict=True
        ):
            change = residual_to_planes(picture[None] - to_rgb(decoded, colour), colour)
            found += [[(p + c)[0, 0].numpy() for p, c in zip(decoded, change, strict=True)]] * len(shown)
    return found


@pytest.mark.parametrize("tta", [1, 2])
def test_members_are_weighted_before_rounding(folder: Path, tta: int) -> None:
    """With `--tta` each member is the average of its turns."""
    report = enhance(settings(folder, "duo", tta=tta))
    assert (report.frames, report.plan.model, report.duplicates) == (7, "duo", 2)
    assert [(entry.stage, Path(entry.file).name) for entry in report.weights] == [
        (1, "tiny.safetensors"),
        (1, "tiny.safetensors"),
        (2, "second.safetensors"),
    ]
    alone = [floats_of(folder, name, tta=tta) for name in ("tiny", "pair")]
    for written, one, other in zip(planes_of(folder / "duo.mkv"), *alone, strict=True):
        for plane, first, second in zip(written, one, other, strict=True):
            truth = 0.75 * first.astype(float) + 0.25 * second
            # Where a value lies within 1e-3 of a half, float32 may round it the other way.
            assert np.abs(plane - truth.clip(0, 255)).max() <= 0.5 + 1e-3


def test_a_mask_network_chooses(folder: Path) -> None:
    """A mask of 1 gives the first member; the report names the mask's file."""
    report = enhance(settings(folder, "masked"))
    enhance(settings(folder, "tiny"))
    assert [entry.stage for entry in report.weights] == [1, 1, 2, 0]
    assert_same(folder / "masked.mkv", folder / "tiny.mkv")


def test_the_guard_takes_the_safer_pipeline_and_says_so(folder: Path) -> None:
    """A limit that no result keeps: all is the last member's."""
    report = enhance(settings(folder, "careful"))
    enhance(settings(folder, "pair"))
    assert_same(folder / "careful.mkv", folder / "pair.mkv")
    assert any("4 of 4 segments" in text for text in report.warnings)


def test_adaptive_holds_one_frame_back_and_loses_none(folder: Path) -> None:
    assert enhance(settings(folder, "textured")).frames == 7


def test_chunks_serve_all_members(folder: Path) -> None:
    """Shared decoding: chunks and context are the same for all, and memory is shared out among them."""
    wanted = settings(folder, "even", chunk=0)
    with Reader(wanted.input) as reader:
        colour = reader.info.colour
    engine = load_model(wanted.networks).start(wanted.sizes, colour, (1080, 1920))
    assert isinstance(engine, EnsembleEngine)
    assert engine.sizes.chunks.chunk == min(member.sizes.chunks.chunk for member in engine.members)
    assert {member.sizes.chunks for member in engine.members} == {engine.sizes.chunks}
    assert len(engine.sizes.tilings) == len(engine.stages) == 3
    budgets = sum(member.compute.budget for member in engine.members)
    assert budgets <= load_model(settings(folder, "tiny").networks).compute.budget


def test_ensembles_are_read_as_written(folder: Path) -> None:
    duo = load_ensembles()["duo"]
    assert (duo.members, duo.fusion.method, duo.fusion.weights) == (("tiny", "pair"), "weighted", (3.0, 1.0))
    assert duo.fusion.shares(2) == (0.75, 0.25)
    assert duo.measured[0].gain_db == -1.0
    assert find_ensemble("tiny") is None and find_ensemble(None) is None
    assert model_names() == ["tiny", "pair", "grow", *load_ensembles()]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('members = ["tiny"]', "needs two members or more"),
        ('members = ["tiny", "pear"]', r"no pipeline 'pear'; Did you mean 'pair'"),
        ('members = ["tiny", "pair"]\nmethod = "meen"', "no ensemble method 'meen'. Did you mean 'mean'"),
        ('members = ["tiny", "pair"]\nweights = [1]', "1 weights for 2 members"),
        ('members = ["tiny", "pair"]\nweights = [1, -1]', "sum up to zero"),
        ('members = ["tiny", "pair"]\nmethod = "gated"', "needs a mask network"),
        ('members = ["tiny", "pair", "grow"]\nmethod = "adaptive"', "is for two members, not 3"),
        ('membres = ["tiny", "pair"]', "'membres' is unknown"),
        ("weights = [1, 1]", "lacks 'members'"),
    ],
)
def test_a_faulty_entry_is_named(folder: Path, entry: str, said: str) -> None:
    path = folder / "weights.toml"
    path.write_text(f"{path.read_text()}\n[ensembles.odd]\n{entry}\n")
    with pytest.raises(VqeError, match=said) as refused:
        load_model(settings(folder, "odd").networks)
    assert "ensemble 'odd'" in refused.value.message


def test_a_mask_network_that_is_missing_or_none_is_named(folder: Path) -> None:
    write_tiny(folder / "gate.safetensors")
    with pytest.raises(VqeError, match=r"gate\.safetensors is not a mask network"):
        load_model(settings(folder, "masked").networks)
    (folder / "gate.safetensors").unlink()
    with pytest.raises(VqeError, match=r"no file of weights gate\.safetensors"):
        load_model(settings(folder, "masked").networks)
    with pytest.raises(VqeError, match="'tiny' has no weights for --scale 2"):
        load_model(settings(folder, "duo", scale=2).networks)


def test_the_mask_network_starts_as_the_mean_and_takes_any_size() -> None:
    network = networks.build("gate", {"channels": 4, "blocks": 1})
    first, second = torch.rand(2, 3, 9, 7), torch.rand(2, 3, 9, 7)
    assert torch.equal(network(first, second), torch.full((2, 1, 9, 7), 0.5))
    torch.nn.init.normal_(network.tail.weight)
    mask = network(first, second)
    assert mask.shape == (2, 1, 9, 7) and 0 <= mask.min() < 0.5 < mask.max() <= 1


def test_what_results_depend_on_tells_ensembles_of_the_same_files_apart(folder: Path) -> None:
    """By this an unfinished run is known to have had another method or other weights."""
    entries = [load_model(settings(folder, name).networks).entry for name in ("duo", "even", "careful")]
    assert json.loads(json.dumps(entries)) == entries
    assert len({json.dumps(entry) for entry in entries}) == 3
