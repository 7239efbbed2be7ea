"""`vqe enhance --codec`: encoders for editing on a clip, and one that is not there."""

from pathlib import Path

import av
import small_clips
from command import one_sentence, vqe, vqe_process

from vqe_cli.video.encoders import available_encoders


def test_a_clip_for_editing(tmp_path: Path) -> None:
    source = small_clips.write(tmp_path / "in.mkv", small_clips.clip(3, width=256, height=128))
    done = vqe("enhance", source, tmp_path / "out.mov", "--codec", "prores_ks", "--crf", "4")
    assert done.code == 0, done.stderr
    with av.open(str(tmp_path / "out.mov")) as written:
        assert [picture.format.name for picture in written.decode(video=0)] == ["yuv422p10le"] * 3


def test_an_encoder_that_is_not_there_is_refused_before_pytorch_is_loaded(tmp_path: Path) -> None:
    missing = next(
        name for name in ("hevc_nvenc", "hevc_qsv", "hevc_videotoolbox") if name not in available_encoders()
    )
    source = small_clips.write(tmp_path / "in.mkv", small_clips.clip(1))
    done = vqe_process(
        *("enhance", source, tmp_path / "out.mkv", "--codec", missing),
        env={"PYTHONPROFILEIMPORTTIME": "1"},
    )
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time" in line]
    assert "av" in loaded and "torch" not in loaded
    kept = "\n".join(line for line in done.stderr.splitlines() if "import time" not in line)
    one_sentence(done._replace(stderr=kept))
    assert missing in kept and "libx265" in kept
