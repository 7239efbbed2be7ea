"""Every verb on names in any bytes: read, written, reported, plotted; no name acts on a terminal."""

import ast
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from command import Done, vqe, vqe_process
from conftest import ROOT
from made_clips import decoded, write_clip
from small_clips import write_images
from tiny_weights import write_registry
from training_clips import make_data

# Not UTF-8, an escape sequence, a line break, markup, a protocol, an escaped space, an escape of 8 bits, a
# mark that reverses what follows.
WILD = os.fsdecode(b"-\xff\xe9\x1b[31m\n[red]http:a%20b%03d\xc2\x9b\xe2\x80\xae")
NAMES = {"wild": WILD, "longest": "n" * 251, "emoji": ":smile: [red]"}
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")

names = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=6, size=(64, 48))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}


@pytest.fixture
def source(clip: Path, tmp_path: Path, name: str) -> Path:
    return Path(shutil.copy(clip, tmp_path / f"{name}.mkv"))


def gradient(number: int) -> tuple[np.ndarray, ...]:
    """The planes of a small RGB picture."""
    across, down = np.meshgrid(np.arange(64, dtype=np.uint8), np.arange(48, dtype=np.uint8))
    return across * 3, down * 4, across + down + np.uint8(number)


def went_well(done: Done) -> Done:
    """Exit code 0 and nothing raw on either stream."""
    assert done.code == 0, ascii(done.stderr)
    assert not RAW.search(done.stdout), ascii(done.stdout)
    assert not RAW.search(done.stderr), ascii(done.stderr)
    return done


@names
def test_enhance(source: Path, tmp_path: Path, registry: dict[str, str], name: str) -> None:
    folder, report = tmp_path / f"{name[:100]}.d", tmp_path / f"{name[:100]}.json"
    folder.mkdir()
    target = folder / source.name
    went_well(vqe("enhance", "--dry-run", source, target, env=registry))
    went_well(vqe("enhance", source, target, "--json", report, env=registry))
    assert json.loads(report.read_text())["output"] == str(target)
    assert len(decoded(target)) == 6
    images = folder / "images" / f"{name[:100].replace('%', '')}%03d.png"
    images.parent.mkdir()
    went_well(vqe("enhance", source, images, env=registry))
    assert len(list(images.parent.iterdir())) == 6
    went_well(vqe("enhance", images.parent, folder / "again.mkv", "--segment", "2", env=registry))


@names
def test_enhance_in_segments_that_are_joined(
    source: Path, tmp_path: Path, registry: dict[str, str], name: str
) -> None:
    target = tmp_path / "out" / source.name
    target.parent.mkdir()
    went_well(vqe("enhance", source, target, "--segment", "2", "--chunk", "2", env=registry))
    assert len(decoded(target)) == 6
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@names
def test_enhance_a_folder(source: Path, tmp_path: Path, registry: dict[str, str], name: str) -> None:
    tree = tmp_path / "in" / name[:100]
    tree.mkdir(parents=True)
    source.rename(tree / source.name)
    (tree / f"{name[:100]}.mp4").write_bytes(b"damaged" * 100)
    lines = tmp_path / "lines"
    options = ["enhance", tmp_path / "in", tmp_path / "out", "--json", lines]
    for run in ("first", "second"):
        done = vqe(*options, env=registry)
        assert done.code == 1, run
        assert not RAW.search(done.stderr), ascii(done.stderr)
        states = {
            entry["input"]: entry["status"] for entry in map(json.loads, lines.read_text().splitlines())
        }
        assert states == {
            f"{name[:100]}/{source.name}": "done" if run == "first" else "skipped",
            f"{name[:100]}/{name[:100]}.mp4": "failed",
        }
    assert len(decoded(tmp_path / "out" / name[:100] / source.name)) == 6


@names
def test_inspect(source: Path, tmp_path: Path, name: str) -> None:
    report = tmp_path / f"{name[:100]}.json"
    went_well(vqe("inspect", source, "--json", report))
    assert json.loads(report.read_text())["video"]["path"] == str(source)
    assert json.loads(vqe("inspect", source, "--json", "-").stdout)["video"]["path"] == str(source)


@names
def test_eval(source: Path, tmp_path: Path, name: str) -> None:
    short = name[:100]
    sides = ["--gt", source, "--pred", source, "--lq", source]
    pages = [tmp_path / f"{short}.svg", tmp_path / f"{short}.html", tmp_path / f"{short}.png"]
    went_well(vqe("eval", *sides, "--plot", pages[0], "--report", pages[1], "--compare", pages[2]))
    for page in pages[:2]:
        assert not RAW.search(page.read_text(encoding="utf-8")), page.suffix
    ElementTree.parse(pages[0])
    assert len(decoded(pages[2])) == 1
    for form in ("csv", "md"):
        went_well(vqe("eval", *sides, "--format", form))
    document = json.loads(vqe("eval", *sides, "--format", "json").stdout)
    assert document["videos"][0]["pred"] == str(source)


@names
def test_ensemble(source: Path, tmp_path: Path, registry: dict[str, str], name: str) -> None:
    folder, report = tmp_path / "fused", tmp_path / f"{name[:100]}.json"
    folder.mkdir()
    went_well(vqe("ensemble", source, source, "--out", folder / source.name, "--json", report))
    assert len(decoded(folder / source.name)) == 6
    assert json.loads(report.read_text())["output"] == str(folder / source.name)
    given = ["--input", source, "--models", "tiny,pair", "--out", folder / f"b{source.name[1:]}"]
    went_well(vqe("ensemble", *given, env=registry))


@names
def test_compress(source: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / f"{name[:100]}.d"
    went_well(vqe("compress", source, "--recipe", "qp37", "--out", out))
    [made] = out.glob("*.mkv")
    assert len(decoded(made)) == 6
    assert all(json.loads(path.read_text()) for path in out.glob("*.json"))
    pictures = tmp_path / f"{name[:100]}.pictures"
    write_images(pictures, [gradient(number) for number in range(3)])
    went_well(vqe("compress", pictures, "--recipe", "qp37", "--out", out))


@names
def test_train_stage(tmp_path: Path, name: str) -> None:
    short = name[:100]
    data = make_data(tmp_path / short, clips=1, frames=3)
    for path in [path for path in data.rglob("*.mkv")]:
        path.rename(path.with_name(f"{short}{path.stem}.mkv"))
    config = tmp_path / f"{short}.yaml"
    config.write_text(
        "name: small\nnetwork: {arch: qecnn, config: {channels: 8, blocks: 1}}\nprecision: fp32\n"
        "data: {recipes: {qp37: 1}, crop: 32, batch: 2}\nschedule: {steps: 2, rate: 1e-3}\n"
        "validation: {clips: 1}\n"
    )
    out = tmp_path / f"{short}.run"
    went_well(vqe("train-stage", "1", "--config", config, "--data", data, "--out", out))
    trained = (out / "small.safetensors").rename(tmp_path / f"{short}.safetensors")
    went_well(vqe("enhance", next(data.rglob("*.mkv")), tmp_path / "o.mkv", "--weights", trained))


@names
@pytest.mark.slow
def test_bench_and_weights(source: Path, tmp_path: Path, registry: dict[str, str], name: str) -> None:
    went_well(vqe("bench", "eval", "--gt", source, "--pred", source, "--repeats", "1"))
    went_well(vqe("bench", source, "--model", "tiny", env=registry))
    listing = tmp_path / f"{name[:100]}.toml"
    shutil.copytree(Path(registry["VQE_WEIGHTS_TOML"]).parent, tmp_path / "w")
    (tmp_path / "w" / "weights.toml").rename(tmp_path / "w" / listing.name)
    for verb in ("list", "path", "verify"):
        went_well(vqe("weights", verb, env={"VQE_WEIGHTS_TOML": str(tmp_path / "w" / listing.name)}))


@names
def test_errors_name_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.mkv"
    path.write_bytes(b"nothing" * 50)
    for debug in ([], ["--debug"]):
        done = vqe("inspect", path, *debug)
        assert done.code == 1
        assert not RAW.search(done.stderr), ascii(done.stderr)
        assert "\n" + "error: " in "\n" + done.stderr
        assert "something went wrong inside" not in done.stderr


@pytest.mark.slow
def test_streams_that_hold_ascii_only(clip: Path, tmp_path: Path) -> None:
    """And that are strict, as a UTF-8 locale makes them."""
    source = Path(shutil.copy(clip, tmp_path / f"é{WILD}.mkv"))
    env = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = vqe_process("eval", "--gt", source, "--pred", source, env=env)
    assert done.code == 0, done.stderr
    assert "\\xe9" in done.stdout
    assert json.loads(vqe_process("inspect", source, "--json", "-", env=env).stdout)["video"]["path"] == str(
        source
    )


@pytest.mark.parametrize("path", sorted((ROOT / "vqe_cli" / "cli").glob("*.py")), ids=lambda path: path.name)
def test_lines_are_shown_by_functions_that_escape(path: Path) -> None:
    """`print` stands in `console.py` alone, and no console interprets markup of names."""
    if path.name == "console.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [each.lineno for each in called if isinstance(each, ast.Name) and each.id == "print"]
    assert not [each.lineno for each in called if isinstance(each, ast.Name) and each.id == "Console"]
    assert "typer.echo" not in path.read_text(encoding="utf-8")
