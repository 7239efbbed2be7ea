"""The public face: what is exported, what the README's ten lines do, and that both doors lead to the same."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from command import vqe as command
from conftest import ROOT
from small_clips import clip, write

import vqe_cli as vqe
from vqe_cli.video.colour import residual_to_planes, to_rgb, to_tensors

QP37 = {"x265-params": "log-level=none:qp=37:keyint=8:bframes=2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """in.mkv, and gt.mkv, what it was made from."""
    folder = tmp_path_factory.mktemp("api")
    pictures = clip(6, width=96, height=64)
    write(folder / "gt.mkv", pictures, codec="ffv1")
    write(folder / "in.mkv", pictures, codec="libx265", options=QP37)
    return folder


def test_exports_are_what_is_listed() -> None:
    assert set(vqe.__all__) <= set(dir(vqe))
    assert all(getattr(vqe, name) is not None for name in vqe.__all__)
    assert (ROOT / "vqe_cli/py.typed").is_file()
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = vqe.nothing_such  # type: ignore[attr-defined]


def test_every_error_is_a_vqe_error() -> None:
    errors = [getattr(vqe, name) for name in vqe.__all__ if name.endswith("Error")]
    assert len(errors) == 6 and all(issubclass(error, vqe.VqeError) for error in errors)


def test_the_lines_of_the_readme_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [lines] = re.findall(r"^    import vqe_cli as vqe\n(?:    .*\n)+", readme, re.MULTILINE)
    code = "\n".join(line.removeprefix("    ") for line in lines.splitlines())
    code = code.replace('model="balanced", scale=2', 'model="fast", overwrite=True')
    code = code.replace('device="cuda"', 'device="cpu"')
    assert 4 <= len(code.splitlines()) <= 10
    monkeypatch.chdir(folder)
    found: dict[str, object] = {}
    exec(code, found)
    assert found["report"].frames == 6  # type: ignore[attr-defined]
    assert len(found["frames"]) == 6  # type: ignore[arg-type]
    assert 20 < found["scores"] < 60  # type: ignore[operator]


def test_the_command_and_the_function_write_the_same(folder: Path) -> None:
    seen = []
    chosen = {"codec": "ffv1", "frames": 4, "model": "fast", "overwrite": True}
    report = vqe.enhance(folder / "in.mkv", folder / "function.mkv", progress=seen.append, **chosen)
    words = [f"--{key}={value}" for key, value in chosen.items() if key != "overwrite"]
    done = command("enhance", folder / "in.mkv", folder / "command.mkv", *words)
    assert done.code == 0, done.stderr
    assert (folder / "function.mkv").read_bytes() == (folder / "command.mkv").read_bytes()
    assert [event.frames for event in seen] == [1, 2, 3, 4] and seen[-1].total == 4
    assert report.plan.model == "fast"


def test_a_model_on_tensors_makes_what_the_file_has(folder: Path) -> None:
    """The same pictures with the same QPs: what is written differs by rounding to 8 bits alone."""
    vqe.enhance(folder / "in.mkv", folder / "model.mkv", model="fast", codec="ffv1", overwrite=True)
    with av.open(str(folder / "model.mkv")) as container:
        written = [frame.to_ndarray(format="yuv444p").astype(float) for frame in container.decode(video=0)]

    frames, info = list(vqe.read(folder / "in.mkv")), vqe.inspect(folder / "in.mkv").info
    rgb = torch.cat([to_rgb(to_tensors(frame.planes), info.colour) for frame in frames])
    qp = torch.tensor([[float(frame.qp or 0) for frame in frames]])
    model = vqe.load_model("fast", device="cpu")
    out = model(rgb[None], qp)
    assert out.shape == (1, 6, 3, 64, 96) and model.scale == 1
    for frame, picture, before, after in zip(frames, out[0], rgb, written, strict=True):
        change = residual_to_planes((picture - before)[None], info.colour)[0][0, 0].numpy()
        expected = np.clip(np.round(frame.planes[0] + change), 0, 255)
        assert np.abs(after[0] - expected).max() <= 1


@pytest.mark.parametrize("scale", [2, 4])
def test_models_enlarge(scale: int) -> None:
    model = vqe.load_model("fast", scale=scale, device="cpu")
    clip = torch.rand(2, 2, 3, 16, 24)
    assert model(clip).shape == (2, 2, 3, 16 * scale, 24 * scale)


def test_shapes_that_do_not_fit_are_refused() -> None:
    model = vqe.load_model("fast", device="cpu")
    with pytest.raises(ValueError, match="N, T, 3, H, W"):
        model(torch.rand(3, 16, 16))
    with pytest.raises(ValueError, match="qp"):
        model(torch.rand(1, 2, 3, 16, 16), torch.tensor([37.0]))


def test_frames_have_qps_and_peaks(folder: Path) -> None:
    listed = vqe.inspect(folder / "in.mkv").frames
    frames = list(vqe.read(folder / "in.mkv"))
    assert [f.qp for f in listed] == [f.qp for f in frames] and all(f.qp for f in frames)
    assert [f.peak for f in listed] == [f.peak for f in frames] and frames[0].peak
    assert [f.index for f in vqe.read(folder / "in.mkv", start=2, frames=3)] == [2, 3, 4]


def test_figures_and_gains(folder: Path) -> None:
    found = vqe.evaluate(folder / "gt.mkv", folder / "in.mkv", lq=folder / "in.mkv", max_frames=3)
    assert found.gain is not None and found.gain["psnr"] == 0
    assert len(found.per_frame["psnr"]) == 3
    assert found.mean["psnr"] == pytest.approx(np.mean(found.per_frame["psnr"]))
    assert vqe.evaluate(folder / "gt.mkv", folder / "in.mkv").gain is None


def test_what_changed_without_a_truth(folder: Path) -> None:
    found = vqe.evaluate(None, folder / "gt.mkv", lq=folder / "in.mkv", max_frames=3)
    assert found.gain is not None and set(found.gain) == {"blockiness", "clipped"}
    assert 0 < found.mean["changed"] < 100
    with pytest.raises(vqe.VqeError, match="psnrr"):
        vqe.evaluate(None, folder / "gt.mkv", lq=folder / "in.mkv", metrics=["psnrr"])
    with pytest.raises(vqe.SettingsError, match="fid"):
        vqe.evaluate(folder / "gt.mkv", folder / "in.mkv", metrics=["fid"])


def test_errors_are_of_their_kind(folder: Path) -> None:
    with pytest.raises(vqe.InputError, match="nothing"):
        vqe.enhance(folder / "nothing.mkv", folder / "out.mkv")
    with pytest.raises(vqe.SettingsError, match="modle") as caught:
        vqe.enhance(folder / "in.mkv", folder / "out.mkv", modle="fast")
    assert "model" in caught.value.remedy
    with pytest.raises(vqe.WeightsError, match="nonesuch"):
        vqe.load_model("nonesuch")
    with pytest.raises(vqe.DeviceError):
        vqe.load_model("fast", device="cuda:99")
    with pytest.raises(vqe.OutputError):
        vqe.enhance(folder / "in.mkv", folder / "out.nosuchkind")


def test_a_bar_is_shown_where_it_is_asked_for(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vqe.enhance(folder / "in.mkv", folder / "bar.mkv", progress=True, model="fast", frames=2, overwrite=True)
    assert "2/2" in capfd.readouterr().err
