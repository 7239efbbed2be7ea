"""The clips that `vqe bench` takes from a validation folder."""

from pathlib import Path

import pytest

from vqe_cli.bench.gains import clips_of, truth_of
from vqe_cli.errors import VqeError


def test_what_vqe_compress_tells_of_clips_is_no_clip(tmp_path: Path) -> None:
    for name in ("lq/hm/a.mkv", "lq/hm/a.json", "lq/hm/a.log", "raw/a.json", "raw/a.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (clip,) = clips_of(tmp_path / "lq/hm")
    assert clip == tmp_path / "lq/hm/a.mkv"
    assert truth_of(tmp_path, clip) == tmp_path / "raw/a.mkv"
    with pytest.raises(VqeError, match=r"b\.mkv has no truth"):
        truth_of(tmp_path, clip.with_name("b.mkv"))
    with pytest.raises(VqeError, match="is not a folder"):
        clips_of(tmp_path / "lq/none")
