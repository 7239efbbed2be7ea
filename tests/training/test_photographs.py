"""Clips of photographs: what the camera sees moves as drawn, stays inside, and comes out alike every time."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from vqe_cli.cli.main import app
from vqe_cli.errors import VqeError
from vqe_cli.training.photographs import Clips, PhotographSource, find_photographs


def write_photograph(path: Path, width: int = 480, height: int = 360, seed: int = 1) -> Path:
    """Smooth random texture as a picture; every place looks different from its surroundings."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height, width, 3))
    spectrum = np.fft.rfft2(noise, axes=(0, 1))
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum *= np.exp(-((down**2 + across**2) * 250))[..., None]
    smooth = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    codes = np.clip(128 + smooth / smooth.std() * 40, 0, 255).astype(np.uint8)
    picture = av.VideoFrame.from_ndarray(codes, format="rgb24")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def lumas(source: PhotographSource) -> np.ndarray:
    return np.stack([planes[0].astype(float) for _, planes in source.pictures()])


@pytest.mark.parametrize(("size", "expected"), [((480, 360), (320, 224)), ((360, 480), (224, 320))])
def test_size_and_orientation(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    source = PhotographSource(write_photograph(tmp_path / "one.png", *size), Clips(frames=5))
    clip = lumas(source)
    assert (source.info.width, source.info.height) == expected
    assert clip.shape == (5, expected[1], expected[0])
    assert clip.min() >= 16 and clip.max() <= 235


def test_the_same_every_time_and_another_seed_differs(tmp_path: Path) -> None:
    path = write_photograph(tmp_path / "one.png")
    first = lumas(PhotographSource(path, Clips()))
    assert np.array_equal(first, lumas(PhotographSource(path, Clips())))
    assert not np.array_equal(first, lumas(PhotographSource(path, Clips(seed=1))))


def test_the_picture_moves_as_recorded(tmp_path: Path) -> None:
    """Phase correlation of the first two frames finds the recorded pan of clips that do nothing else."""
    found = 0
    path = write_photograph(tmp_path / "one.png")
    for seed in range(60):
        source = PhotographSource(path, Clips(seed=seed))
        camera = source.record["photograph"]["camera"]
        still = camera["zoom"] == 1 and camera["turn"] == 0 and camera["shake"] == 0
        if not still or source.record["photograph"]["grain"] > 0 or np.abs(camera["pan"]).max() < 0.5:
            continue
        found += 1
        one, two = lumas(source)[:2]
        window = np.outer(np.hanning(one.shape[0]), np.hanning(one.shape[1]))
        cross = np.fft.fft2((one - one.mean()) * window) * np.conj(np.fft.fft2((two - two.mean()) * window))
        peak = np.fft.ifft2(cross).real
        down, across = np.unravel_index(peak.argmax(), peak.shape)
        down = down - one.shape[0] if down > one.shape[0] / 2 else down
        across = across - one.shape[1] if across > one.shape[1] / 2 else across
        assert (across, down) == pytest.approx(camera["pan"], abs=0.75)
    assert found >= 2


@pytest.mark.slow
def test_the_camera_never_leaves_the_photograph(tmp_path: Path) -> None:
    """Beyond a border the edge would repeat: a marked border must never be seen."""
    path = write_photograph(tmp_path / "one.png")
    with av.open(str(path)) as container:
        codes = next(container.decode(video=0)).to_ndarray(format="rgb24")
    codes = codes // 3 + 60
    codes[0], codes[-1], codes[:, 0], codes[:, -1] = 255, 255, 255, 255
    picture = av.VideoFrame.from_ndarray(codes, format="rgb24")
    marked = tmp_path / "marked.png"
    with av.open(str(marked), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 480, 360, "rgb24"
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    for seed in range(40):
        source = PhotographSource(marked, Clips(frames=12, seed=seed))
        assert lumas(source).max() < 205, source.record["photograph"]


def test_objects_come_from_the_other_photographs(tmp_path: Path) -> None:
    paths = [write_photograph(tmp_path / f"{number}.png", seed=number) for number in range(2)]
    sources = [PhotographSource(paths[0], Clips(seed=seed), paths) for seed in range(40)]
    names = [
        source.record["photograph"]["object"]["photograph"]
        for source in sources
        if source.record["photograph"]["object"]
    ]
    assert 2 <= len(names) <= 20
    assert set(names) == {"1.png"}


def test_grain_is_in_some_and_differs_from_frame_to_frame(tmp_path: Path) -> None:
    path = write_photograph(tmp_path / "one.png")
    grains = []
    for seed in range(30):
        source = PhotographSource(path, Clips(seed=seed))
        clip = lumas(source)
        high = clip[:, 1:-1, 1:-1] * 4 - clip[:, :-2, 1:-1] - clip[:, 2:, 1:-1] - clip[:, 1:-1, :-2]
        high -= clip[:, 1:-1, 2:]
        grains.append((source.record["photograph"]["grain"], float(high.std())))
    assert 5 <= sum(strength > 0 for strength, _ in grains) <= 25
    calm = np.mean([high for strength, high in grains if strength == 0])
    assert all(high > 1.5 * calm for strength, high in grains if strength > 2)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [({"frames": 2}, "frames"), ({"frames": 13}, "frames"), ({"width": 321}, "321"), ({"height": 16}, "16")],
)
def test_what_no_clip_can_be(wrong: dict[str, int], names: str) -> None:
    with pytest.raises(VqeError, match=names):
        Clips(**wrong)


def test_small_photographs_are_refused(tmp_path: Path) -> None:
    path = write_photograph(tmp_path / "small.png", 160, 120)
    with pytest.raises(VqeError, match=r"small\.png.*160x120"):
        PhotographSource(path, Clips())
    assert lumas(PhotographSource(path, Clips(width=96, height=64))).shape == (4, 64, 96)


def test_folders_are_searched(tmp_path: Path) -> None:
    inner = write_photograph(tmp_path / "a" / "b" / "one.png")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    assert find_photographs([tmp_path]) == [inner]
    (tmp_path / "empty").mkdir()
    with pytest.raises(VqeError, match="empty"):
        find_photographs([tmp_path / "empty"])


def test_the_command(tmp_path: Path) -> None:
    """Truth and version of one photograph fit each other, and a wrong option is refused."""
    photographs = tmp_path / "photographs"
    write_photograph(photographs / "one.png")
    command = ["compress", str(photographs), "--photographs", "--frames", "3", "--size", "96x64"]
    for recipe in ("lossless", "qp32"):
        ended = CliRunner().invoke(app, [*command, "--recipe", recipe, "--out", str(tmp_path / recipe)])
        assert ended.exit_code == 0, ended.output
    record = json.loads((tmp_path / "qp32" / "one.json").read_text())
    assert record["frames"] == 3
    assert record["photograph"] == json.loads((tmp_path / "lossless" / "one.json").read_text())["photograph"]
    assert record["psnr_y_db"] > 30
    planes = []
    for recipe in ("lossless", "qp32"):
        with av.open(str(tmp_path / recipe / "one.mkv")) as container:
            planes.append(next(container.decode(video=0)).to_ndarray(format="gray").astype(float))
    assert 10 * np.log10(255**2 / np.mean((planes[0] - planes[1]) ** 2)) > 30
    for wrong in (["--scale", "2"], ["--filter", "hflip"], ["--size", "wide"]):
        ended = CliRunner().invoke(
            app, [*command, *wrong, "--recipe", "qp32", "--out", str(tmp_path / "wrong")]
        )
        assert ended.exit_code == 2
