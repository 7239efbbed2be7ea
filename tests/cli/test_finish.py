"""`vqe enhance ... --finish`: what is finished of an interrupted run as a file that can be played."""

import shutil
from pathlib import Path

import av
import pytest
from command import Done, one_sentence, vqe
from made_clips import decoded, packets
from rich_clips import make, sound
from tiny_weights import write_registry

from vqe_cli.runs import segmented
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings

OPTIONS = ["--segment", "8", "--chunk", "4"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input of 35 frames and two runs that were interrupted at frame 26: video and PNG."""
    folder = tmp_path_factory.mktemp("begun")
    make(folder / "in.mkv", sound("flac"), chapters=True)
    registry = write_registry(folder)

    def listen(event: object) -> None:
        if getattr(event, "frames", None) == 26 and hasattr(event, "segment"):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQE_WEIGHTS_TOML", str(registry))
        patch.setattr(segmented, "WRITE_AHEAD", 1)  # so that what is enhanced is encoded, too
        for output in ("out.mkv", "f%03d.png"):
            with pytest.raises(KeyboardInterrupt):
                enhance(Settings(folder / "in.mkv", folder / output, chunk=4, segment=8), listen)
    return folder


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    return shutil.copytree(begun, tmp_path / "copy", copy_function=shutil.copy2)


def run(folder: Path, *options: str, output: str = "out.mkv") -> Done:
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    return vqe("enhance", folder / "in.mkv", folder / output, *OPTIONS, *options, env=env)


def test_what_is_finished_can_be_played_and_the_run_goes_on(folder: Path) -> None:
    """Its pictures and its sound are the first ones of the whole, and it ends where the pictures end."""
    done = run(folder, "--finish")
    assert done.code == 0 and "of 35 frames" in done.stderr, done.stderr
    part = decoded(folder / "out.part.mkv")
    assert 16 <= len(part) < 35 and len(part) % 8 == 0
    heard = packets(folder / "out.part.mkv", "audio")
    with av.open(str(folder / "out.part.mkv")) as container:
        assert abs(container.duration / av.time_base - len(part) / 5) < 0.2
        last = container.chapters()[-1]
        assert float(last["end"] * last["time_base"]) == pytest.approx(len(part) / 5)
    assert "exists already" in one_sentence(run(folder, "--finish"))
    assert run(folder, "--finish", "--overwrite").code == 0
    done = run(folder)
    assert done.code == 0 and "an unfinished run goes on" in done.stderr
    whole = decoded(folder / "out.mkv")
    assert len(whole) == 35 and all((one == other).all() for one, other in zip(part, whole, strict=False))
    assert heard == packets(folder / "out.mkv", "audio")[: len(heard)] and heard


def test_pictures_go_to_a_folder_of_their_own(begun: Path) -> None:
    assert run(begun, "--finish", output="f%03d.png").code == 0
    made = begun.with_name(f"{begun.name}.part")  # beside theirs, as the work folder is
    assert len(list(made.glob("f*.png"))) >= 16


def test_what_cannot_be_finished(folder: Path) -> None:
    assert "no unfinished run" in one_sentence(run(folder, "--finish", output="other.mkv"))
    assert "--strength" in one_sentence(run(folder, "--finish", "--strength", "50"))
    next((folder / "out.mkv.vqe-work").glob("00000.segment")).write_bytes(b"damaged")
    assert "from the beginning" in one_sentence(run(folder, "--finish"))
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    assert "one video" in one_sentence(vqe("enhance", folder, folder / "all", "--finish", env=env))
