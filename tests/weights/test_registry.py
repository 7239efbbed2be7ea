"""weights.toml: what is found, and what is said where it is not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from tiny_weights import write_registry, write_tiny

from vqe_cli.errors import VqeError
from vqe_cli.weights.load import load_network, load_stages, read_header
from vqe_cli.weights.registry import Pipeline, Registry, StageSpec, find, from_files, load_pipelines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_registry(folder)
    return folder


@pytest.fixture(scope="module")
def registry(folder: Path) -> Registry:
    return load_pipelines(folder / "weights.toml")


def test_an_entry_is_read_as_written(registry: Registry) -> None:
    tiny = find("tiny", 1, registry)
    assert (tiny.name, tiny.scale, tiny.description, tiny.trained_on) == (
        "tiny",
        1,
        "random weights",
        "nothing",
    )
    assert tiny.defaults == {"chunk": 8}
    assert [(row.on, row.gain_db, row.worst_db) for row in tiny.measured] == [("noise", -1.0, -2.0)]
    assert [stage.file for stage in find("pair", 1, registry).stages] == [
        "tiny.safetensors",
        "second.safetensors",
    ]
    assert find(None, 1, registry) == tiny


@pytest.mark.parametrize(
    ("qp", "share"), [(18.0, 0.5), (24.0, 0.5), (26.0, 0.75), (28.0, 1.0), (44.0, 1.0), (None, 1.0)]
)
def test_strength_rises_with_the_qp(qp: float | None, share: float) -> None:
    pipeline = Pipeline("ramp", 1, (), strength=((24.0, 0.5), (28.0, 1.0)))
    assert pipeline.strength_at(qp) == pytest.approx(share)
    assert Pipeline("plain", 1, ()).strength_at(qp) == 1.0


def test_strength_makes_up_for_what_an_average_loses() -> None:
    """Of answers that share a change and differ by noise the average loses energy; the best multiple of it,
    by least squares, grows by what `strength_at` says."""
    draw = np.random.default_rng(0)
    truth = draw.normal(size=200_000)
    noise = draw.normal(size=(8, len(truth))) * 0.3  # energy 0.09 of the shared change's
    for turns in (2, 4, 8):
        mean = truth + noise[:turns].mean(axis=0)
        best, single = (float(answer @ truth / (answer @ answer)) for answer in (mean, truth + noise[0]))
        pipeline = Pipeline("noisy", 1, (), strength=((24.0, single),), spread=0.09)
        assert pipeline.strength_at(37, turns) == pytest.approx(best, abs=2e-3)
        assert pipeline.strength_at(37) == single


def test_an_unknown_name_gets_the_nearest_one(registry: Registry) -> None:
    with pytest.raises(VqeError, match=r"'tinny'.*Did you mean 'tiny'"):
        find("tinny", 1, registry)
    with pytest.raises(VqeError, match="Known are grow, pair, tiny"):
        find("balanced", 1, registry)


def test_a_scale_without_weights_names_who_has_them(registry: Registry) -> None:
    with pytest.raises(VqeError, match=r"'tiny' has no weights for --scale 2.*--model grow"):
        find("tiny", 2, registry)
    with pytest.raises(VqeError, match=r"--scale 4.*No pipeline has them"):
        find("tiny", 4, registry)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[pipeline", "cannot read"),
        ("[[pipeline]]\nstages = [{ file = 'a' }]", "lacks 'name'"),
        ("[[pipeline]]\nname = 'a'", "lacks 'stages'"),
        ("[[pipeline]]\nname = 'a'\nstages = []", "0 stages"),
        ("[[pipeline]]\nname = 'a'\nstages = [{ file = 'a', sha = '1' }]", "sha"),
        ("[[pipeline]]\nname = 'a'\nscael = 2\nstages = [{ file = 'a' }]", "'scael' is unknown.*'scale'"),
        ("[[pipeline]]\nname = 'a'\nstages = [{ file = 'a' }]\ndefaults = { chnk = 2 }", "'chnk' is unknown"),
        ("[[pipeline]]\nname = 'a'\nstages = [{ file = 'a' }]\ndefaults = { tta = 3 }", "tta of 'a'.*4, 8"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "weights.toml"
    path.write_text(text)
    with pytest.raises(VqeError, match=words) as caught:
        load_pipelines(path)
    assert str(path) in str(caught.value)


def test_the_projects_own_file_is_whole() -> None:
    """Every pipeline that ships can be loaded, offline, and is as small as promised."""
    registry = load_pipelines(ROOT / "weights.toml")
    for pipeline in registry.pipelines:
        assert pipeline.description and pipeline.trained_on and pipeline.measured
        for stage in pipeline.stages:
            assert stage.path().stat().st_size <= 16 * 2**20
        assert len(load_stages(pipeline)) == len(pipeline.stages)
    assert not registry.pipelines or find(None, 1, registry)


def test_a_network_gets_exactly_the_weights_of_its_file(folder: Path, registry: Registry) -> None:
    (network,) = load_stages(find("tiny", 1, registry))
    expected = load_file(folder / "tiny.safetensors")
    own = network.state_dict()
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[key], expected[key]) for key in own)
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())
    assert read_header(folder / "tiny.safetensors").card == {"name": "tiny"}


def test_damage_and_absence_are_said(folder: Path, tmp_path: Path) -> None:
    good = (folder / "tiny.safetensors").read_bytes()
    (tmp_path / "net.safetensors").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    spec = find("tiny", 1, load_pipelines(folder / "weights.toml")).stages[0]
    damaged = StageSpec("net.safetensors", spec.sha256, folder=tmp_path)
    assert not damaged.intact()
    with pytest.raises(VqeError, match="is damaged"):
        load_network(damaged)
    with pytest.raises(VqeError, match="vqe weights fetch"):
        StageSpec("far.safetensors", "0", url="http://127.0.0.1/").path()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.safetensors", "no file of weights"),
        ("text.safetensors", "not a safetensors file"),
        ("headless.safetensors", "does not say which network"),
        ("other.safetensors", "does not hold the weights of qecnn"),
        ("unknown.safetensors", "cannot build"),
    ],
)
def test_files_of_the_user_that_do_not_fit(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "text.safetensors").write_text("just text, and long enough to be read as a header")
    save_file({"a": torch.zeros(1)}, tmp_path / "headless.safetensors")
    for stem, header in {"other": "qecnn", "unknown": "nonet"}.items():
        told = {"vqe": json.dumps({"arch": header, "config": {}})}
        save_file({"a": torch.zeros(1)}, tmp_path / f"{stem}.safetensors", metadata=told)
    with pytest.raises(VqeError, match=words) as caught:
        load_stages(from_files([tmp_path / name], 1))
    assert str(tmp_path / name) in str(caught.value) and caught.value.remedy


def test_files_of_the_user_must_enlarge_as_asked(tmp_path: Path) -> None:
    write_tiny(tmp_path / "grow.safetensors", scale=2)
    assert load_stages(from_files([tmp_path / "grow.safetensors"], 2))[0].scale == 2
    with pytest.raises(VqeError, match="enlarge by 2, --scale asks for 1"):
        load_stages(from_files([tmp_path / "grow.safetensors"], 1))
    with pytest.raises(VqeError, match="names 3 files"):
        from_files([tmp_path / "grow.safetensors"] * 3, 1)
