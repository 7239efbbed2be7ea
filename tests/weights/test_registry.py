"""weights.toml: what is found, and what is said where it is not."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from tiny_weights import write_registry, write_tiny

from vqe_cli.errors import VqeError
from vqe_cli.weights.ensembles import Fusion, load_ensembles
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
    pipeline = Pipeline("ramp", 1, (), residual_scale=((24.0, 0.5), (28.0, 1.0)))
    assert pipeline.residual_scale_at(qp) == pytest.approx(share)
    assert Pipeline("plain", 1, ()).residual_scale_at(qp) == 1.0


def test_strength_makes_up_for_what_an_average_loses() -> None:
    """Of answers that share a change and differ by noise the average loses energy; the best multiple of it,
    by least squares, grows by what `residual_scale_at` says."""
    draw = np.random.default_rng(0)
    truth = draw.normal(size=200_000)
    noise = draw.normal(size=(8, len(truth))) * 0.3  # energy 0.09 of the shared change's
    for turns in (2, 4, 8):
        mean = truth + noise[:turns].mean(axis=0)
        best, single = (float(answer @ truth / (answer @ answer)) for answer in (mean, truth + noise[0]))
        pipeline = Pipeline("noisy", 1, (), residual_scale=((24.0, single),), tta_noise_ratio=0.09)
        assert pipeline.residual_scale_at(37, turns) == pytest.approx(best, abs=2e-3)
        assert pipeline.residual_scale_at(37) == single


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


PIPELINE = "[[pipeline]]\nname = 'a'\nstages = [{ file = 'a' }]\n"
STAGE = "[[pipeline]]\nname = 'a'\nstages = [{{ {} }}]\n"
FETCHED = (
    STAGE.format("file = '{}', sha256 = '" + "0" * 64 + "', url = '{}'")
    .replace("stages = [{ ", "stages = [{{ ")
    .replace(" }]", " }}]")
)
HOSTILE_TABLES = {
    "out of the cache": FETCHED.format("../x", "http://h/x"),
    "absolute": FETCHED.format("/tmp/x", "http://h/x"),
    "in a folder": FETCHED.format("a/x", "http://h/x"),
    "of a drive": FETCHED.format("C:x", "http://h/x"),
    "of a Windows folder": FETCHED.format("..\\x", "http://h/x"),
    "a local address": FETCHED.format("x", "file:///etc/passwd"),
    "sha256 of another length": STAGE.format("file = 'a', sha256 = 'ab'"),
    "file is a number": STAGE.format("file = 3"),
    "file is nothing": STAGE.format("file = ''"),
    "file with a zero byte": STAGE.format('file = "a\\u0000b"'),
    "name is a list": "[[pipeline]]\nname = ['a']\nstages = []\n",
    "name with an escape": '[[pipeline]]\nname = "\\u001b[2J"\nstages = [{ file = "a" }]\n',
    "scale is text": PIPELINE + "scale = '2'",
    "scale is 3": PIPELINE + "scale = 3",
    "scale is true": PIPELINE + "scale = true",
    "defaults are a list": PIPELINE + "defaults = []",
    "chunk is a fraction": PIPELINE + "defaults = { chunk = 1.5 }",
    "chunk is negative": PIPELINE + "defaults = { chunk = -1 }",
    "chunk is huge": PIPELINE + "defaults = { chunk = 1000000000000 }",
    "tta is a list": PIPELINE + "defaults = { tta = [1] }",
    "residual scale is NaN": PIPELINE + "residual_scale = [[nan, 1.0]]",
    "residual scale is infinite": PIPELINE + "residual_scale = [[20, inf]]",
    "residual scale of one": PIPELINE + "residual_scale = [[20]]",
    "residual scale is text": PIPELINE + "residual_scale = 'all'",
    "noise ratio is a list": PIPELINE + "tta_noise_ratio = [0.1]",
    "measured is text": PIPELINE + "measured = 'much'",
    "measured gain is text": PIPELINE + "measured = [{ on = 'x', gain_db = 'y' }]",
    "measured lacks its gain": PIPELINE + "measured = [{ on = 'x' }]",
    "description is a date": PIPELINE + "description = 2020-01-01",
    "pipeline is a table": "[pipeline]\nname = 'a'",
    "pipeline is numbers": "pipeline = [1, 2]",
    "stages are text": "[[pipeline]]\nname = 'a'\nstages = 'ab'",
    "stages are texts": "[[pipeline]]\nname = 'a'\nstages = ['ab']",
    "default is a number": PIPELINE
    + "[[pipeline]]\n"
    + "name = 'b'\nstages = [{ file = 'b' }]\n[default]\nx = 1",
    "5,000 digits": PIPELINE + "tta_noise_ratio = " + "9" * 5000,
    "20 digits": PIPELINE + "scale = " + "9" * 20,
    "deep lists": PIPELINE + "residual_scale = " + "[" * 5000 + "]" * 5000,
    "100 lists": PIPELINE + "residual_scale = " + "[" * 100 + "]" * 100,
    "deep tables": PIPELINE + "x = " + "{a=" * 5000 + "1" + "}" * 5000,
    "a dotted key": ".".join("a" * 9000) + " = 1",
    "an endless dotted key": ".".join("a" * 60_000) + " = 1",
    "unknown and long": "x" * 10_000 + " = 1",
    "long and wrong": PIPELINE + "scale = '" + "x" * 10_000 + "'",
    "large": "# " + "x" * 300_000,
    "ensembles are a list": PIPELINE + "ensembles = [1]",
}
ENSEMBLE = (
    "[[pipeline]]\nname = 'p'\nstages = [{ file = 'a' }]\n"
    "[[pipeline]]\nname = 'q'\nstages = [{ file = 'a' }]\n[ensembles.e]\n"
)
HOSTILE_ENSEMBLES = {
    "not a table": ENSEMBLE.replace("[ensembles.e]", "[ensembles]") + "e = 3",
    "no members": ENSEMBLE + "method = 'mean'",
    "members are text": ENSEMBLE + "members = 'pq'",
    "members are numbers": ENSEMBLE + "members = [1, 2]",
    "weights are texts": ENSEMBLE + "members = ['p', 'q']\nweights = ['1', '2']",
    "weights are NaN": ENSEMBLE + "members = ['p', 'q']\nweights = [nan, 1]",
    "limit is text": ENSEMBLE + "members = ['p', 'q']\nmethod = 'guard'\nlimit_db = '30'",
    "segment is a fraction": ENSEMBLE + "members = ['p', 'q']\nmethod = 'guard'\nsegment = 2.5",
    "gate is a list": ENSEMBLE + "members = ['p', 'q']\ngate = ['a']",
    "gate leads out of the cache": ENSEMBLE
    + "members = ['p', 'q']\ngate = { file = '../x', url = 'http://h/x' }",
    "method is a list": ENSEMBLE + "members = ['p', 'q']\nmethod = ['mean']",
}


@pytest.mark.parametrize("text", HOSTILE_TABLES.values(), ids=HOSTILE_TABLES)
def test_a_hostile_file_gets_a_sentence(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text.encode())


@pytest.mark.parametrize("text", HOSTILE_ENSEMBLES.values(), ids=HOSTILE_ENSEMBLES)
def test_a_hostile_ensemble_gets_a_sentence(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text.encode())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name = '\xe4'", b"\0" * 100])
def test_a_file_that_is_no_text_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)


def test_a_folder_and_a_name_that_cannot_be_get_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "a\0b"):
        with pytest.raises(VqeError, match="cannot read"):
            load_pipelines(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_ensemble_of_no_numbers_is_refused(number: float) -> None:
    for fusion in (Fusion("weighted", (number, 1.0)), Fusion("guard", limit_db=number)):
        with pytest.raises(VqeError, match="NaN"):
            fusion.check(["a", "b"])


def refused(folder: Path, content: bytes) -> None:
    """Reads the content as weights.toml, which must end with one sentence of bearable length, soon."""
    path = folder / "weights.toml"
    path.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(VqeError) as caught:
        load_ensembles(path)
    assert time.monotonic() - began < 3
    said = str(caught.value)
    assert str(path) in said and caught.value.remedy
    assert said.isprintable() and len(said) < 500 + len(str(path))


def test_a_mark_of_byte_order_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "weights.toml"
    path.write_text(PIPELINE, encoding="utf-8-sig")
    assert load_pipelines(path).names() == ["a"]


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
