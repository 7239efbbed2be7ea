"""Recipes: near the corpus's own versions, the QPs they name, nothing lost on the way."""

import json
import stat
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import DATA, shared_path
from training_clips import moving_picture, write_clip

from vqe_cli.errors import VqeError
from vqe_cli.training.compress import Source, compress, find_clips
from vqe_cli.training.recipes import ReferenceEncoder, recipe_of
from vqe_cli.video.frame import Frame
from vqe_cli.video.sources import open_reader


def frames_of(path: Path) -> list[Frame]:
    with open_reader(path) as reader:
        return list(reader)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "raw" / "moving clip.mkv"
    write_clip(path, moving_picture(3, 9, 96, 64))
    return path


@pytest.mark.parametrize("recipe", ["qp37", "ntire-200k"])
def test_near_the_corpus(tmp_path: Path, recipe: str) -> None:
    """The corpus was made by FFmpeg 5.1 and x265 3.5; ours is newer, so near is what can be asked."""
    manifest = json.loads(shared_path("corpus/manifest.json").read_text())
    [entry] = [each for each in manifest["clips"] if each["name"] == "001_calendar"]
    made = compress(Source(shared_path("corpus/train/raw/001_calendar.mkv")), recipe_of(recipe), tmp_path)
    theirs = entry["lq"][recipe]
    assert made.psnr_y_db == pytest.approx(theirs["psnr_y"], abs=0.2)
    assert made.bytes == pytest.approx(theirs["bytes"], rel=0.06)
    assert made.frames == entry["frames"]
    if recipe == "qp37":
        corpus = frames_of(shared_path("corpus/train/lq/qp37/001_calendar.mkv"))
        assert {f.qp for f in frames_of(made.path)} == {f.qp for f in corpus}


@pytest.mark.parametrize("recipe", ["qp30", "crf40", "rate-60k", "x264-crf32"])
def test_keeps_frames_times_and_tags(clip: Path, tmp_path: Path, recipe: str) -> None:
    made = compress(Source(clip), recipe_of(recipe), tmp_path / "lq")
    given, written = frames_of(clip), frames_of(made.path)
    assert [f.pts for f in written] == [f.pts for f in given]
    tags = open_reader(made.path).info.tags
    assert {key: tags[key] for key in ("primaries", "transfer", "matrix", "range")} == {
        key: 1 for key in ("primaries", "transfer", "matrix", "range")
    }
    record = json.loads((tmp_path / "lq" / "moving clip.json").read_text())
    assert record["recipe"] == recipe
    assert record["frames"] == len(given) == 9
    assert record["bytes"] == made.path.stat().st_size
    # The luma PSNR it tells, once more.
    squares = np.mean(
        [(a.planes[0].astype(float) - b.planes[0]) ** 2 for a, b in zip(given, written, strict=True)]
    )
    assert made.psnr_y_db == pytest.approx(10 * np.log10(255**2 / squares), abs=1e-6)


def test_qp_is_the_one_asked_for(clip: Path, tmp_path: Path) -> None:
    frames = frames_of(compress(Source(clip), recipe_of("qp30"), tmp_path / "lq").path)
    # x265's constant QP is that of P pictures; key pictures lie 3 below (ipratio 1.4), B pictures 2 above.
    assert frames[0].qp == 27
    assert {f.qp for f in frames if f.kind == "P"} == {30}
    assert {f.qp for f in frames if f.kind == "B"} <= {30, 31, 32}


def test_scales_down_as_ffmpeg_does(clip: Path, tmp_path: Path) -> None:
    made = compress(Source(clip, scale=2), recipe_of("qp1"), tmp_path / "lq")
    with av.open(str(clip)) as container:
        expected = [
            picture.reformat(48, 32, interpolation="BICUBIC") for picture in container.decode(video=0)
        ]
    for frame, picture in zip(frames_of(made.path), expected, strict=True):
        assert frame.planes[0].shape == (32, 48)
        luma = np.asarray(picture.to_ndarray())[:32]
        assert np.abs(frame.planes[0].astype(int) - luma).mean() < 1
    with pytest.raises(VqeError, match="98x64, which gives no even size"):
        odd = tmp_path / "odd.mkv"
        write_clip(odd, moving_picture(3, 2, 98, 64))
        compress(Source(odd, scale=4), recipe_of("qp37"), tmp_path / "lq")


def test_lossless_is_the_clip_itself(clip: Path, tmp_path: Path) -> None:
    made = compress(Source(clip), recipe_of("lossless"), tmp_path / "same")
    assert made.psnr_y_db == float("inf")
    for given, written in zip(frames_of(clip), frames_of(made.path), strict=True):
        assert all(map(np.array_equal, given.planes, written.planes))
    # At half the size it is a truth, whose versions are those of the clip scaled down.
    half = compress(Source(clip, scale=2), recipe_of("lossless"), tmp_path / "half")
    again = compress(Source(half.path), recipe_of("qp30"), tmp_path / "again")
    at_once = compress(Source(clip, scale=2), recipe_of("qp30"), tmp_path / "at once")
    for one, other in zip(frames_of(again.path), frames_of(at_once.path), strict=True):
        assert all(map(np.array_equal, one.planes, other.planes))


def test_filters_change_the_pictures_first(clip: Path, tmp_path: Path) -> None:
    made = compress(
        Source(clip, filters=["hflip", "crop=64:32:0:0"]), recipe_of("lossless"), tmp_path / "flipped"
    )
    for given, written in zip(frames_of(clip), frames_of(made.path), strict=True):
        assert np.array_equal(given.planes[0][:32, ::-1][:, :64], written.planes[0])
    assert json.loads(made.path.with_suffix(".json").read_text())["filters"] == ["hflip", "crop=64:32:0:0"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nosuch", "FFmpeg refuses the filters nosuch"),
        ("scale=a:b", "FFmpeg refuses"),
        ("reverse", "no picture"),
    ],
)
def test_filters_that_cannot_work(clip: Path, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(VqeError, match=said):
        compress(Source(clip, filters=[text]), recipe_of("lossless"), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_picture_folder_becomes_bt709(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "walk"
    folder.mkdir(parents=True)
    pictures = moving_picture(1, 3, 64, 64)
    for number, picture in enumerate(pictures):
        with av.open(str(folder / f"{number:03d}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    assert find_clips([tmp_path / "raw"]) == [folder]
    made = compress(Source(folder), recipe_of("qp10"), tmp_path / "lq")
    assert made.path.name == "walk.mkv"
    assert made.frames == 3
    info = open_reader(made.path).info
    assert (info.colour.matrix, info.colour.full_range, info.colour.guessed) == ("bt709", False, False)
    red, green, blue = np.moveaxis(pictures[0].astype(float), 2, 0)
    luma = 16 + 219 / 255 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    assert np.abs(frames_of(made.path)[0].planes[0] - luma).mean() < 2


FAKE_HM = """#!{python}
import shutil, sys, os
told = sys.argv
with open(os.path.join(os.path.dirname(told[0]), "command.txt"), "w") as file:
    file.write(" ".join(told[1:]))
value = lambda name: told[told.index(name) + 1]
assert value("-c").endswith("ldp.cfg") and value("-q") == "32"
assert "--InputBitDepth=8" in told and "--ConformanceWindowMode=1" in told
frames, width, height = (int(value(name)) for name in ("-f", "-wdt", "-hgt"))
if os.path.getsize(value("-i")) != frames * width * height * 3 // 2:
    sys.exit("input is cut short")
shutil.copy({stream!r}, value("-b"))
print("POC    0 TId: 0 ( I-SLICE, nQP 32 QP 32 )")
"""


def test_reference_encoder(tmp_path: Path) -> None:
    """A program that stands for HM gives a stream of HM's own; what goes in is that stream's pictures."""
    stream = DATA / "hevc/streams/hm_ldp_qp32.bin"
    truth = json.loads((DATA / "hevc/truth.json").read_text())["streams/hm_ldp_qp32.bin"]["frames"]
    program, config = tmp_path / "TAppEncoder", tmp_path / "ldp.cfg"
    program.write_text(FAKE_HM.format(python=sys.executable, stream=str(stream)))
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    config.write_text("")
    made = compress(
        Source(stream), recipe_of("hm-ldp-qp32"), tmp_path / "lq", hm=ReferenceEncoder(program, config)
    )
    assert [f.qp for f in frames_of(made.path)] == [frame[6][0] for frame in truth]
    assert made.psnr_y_db == float("inf")
    assert "QP 32" in made.path.with_suffix(".log").read_text()
    # The options of the corpus and what only the clip can tell; HM is given the whole clip as raw samples.
    told = (tmp_path / "command.txt").read_text().split()
    assert told[:6] == ["-c", str(config), "-q", "32", "--InputBitDepth=8", "--ConformanceWindowMode=1"]
    given = dict(zip(told[6::2], told[7::2], strict=True))
    [first, *_] = frames_of(stream)
    height, width = first.planes[0].shape
    assert (given["-wdt"], given["-hgt"], given["-f"]) == (str(width), str(height), str(len(truth)))
    assert given.keys() == {"-i", "-wdt", "-hgt", "-fr", "-f", "-b"}
    record = json.loads(made.path.with_suffix(".json").read_text())
    assert (record["codec"], record["encoder"], record["recipe"]) == ("hm", "TAppEncoder", "hm-ldp-qp32")
    with pytest.raises(VqeError, match="needs HM's encoder"):
        compress(Source(stream), recipe_of("hm-ldp-qp32"), tmp_path / "again")
    with pytest.raises(VqeError, match="failed on"):
        compress(
            Source(stream), recipe_of("hm-ldp-qp30"), tmp_path / "again", hm=ReferenceEncoder(program, config)
        )
    assert not list((tmp_path / "again").iterdir())
    absent = ReferenceEncoder(tmp_path / "none", config)
    with pytest.raises(VqeError, match=r"there is no file .*none"):
        compress(Source(stream), recipe_of("hm-ldp-qp32"), tmp_path / "again", hm=absent)
    program.write_text("no program")
    with pytest.raises(VqeError, match="cannot run"):
        compress(
            Source(stream), recipe_of("hm-ldp-qp32"), tmp_path / "again", hm=ReferenceEncoder(program, config)
        )


def test_existing_version_is_kept(clip: Path, tmp_path: Path) -> None:
    compress(Source(clip), recipe_of("qp30"), tmp_path)
    before = (tmp_path / "moving clip.mkv").read_bytes()
    with pytest.raises(VqeError, match="exists"):
        compress(Source(clip), recipe_of("qp40"), tmp_path)
    assert (tmp_path / "moving clip.mkv").read_bytes() == before
    compress(Source(clip), recipe_of("qp40"), tmp_path, overwrite=True)
    assert (tmp_path / "moving clip.mkv").read_bytes() != before


def test_the_clean_clip_is_never_replaced(clip: Path, tmp_path: Path) -> None:
    before = clip.read_bytes()
    with pytest.raises(VqeError, match="is the clean clip itself"):
        compress(Source(clip), recipe_of("qp40"), clip.parent, overwrite=True)
    assert clip.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(VqeError, match="cannot make the folder"):
        compress(Source(clip), recipe_of("qp40"), tmp_path / "file" / "lq")


@pytest.mark.parametrize("name", ["qp52", "crf", "rate-0k", "ntire", "hm-ldp-37", "qp37 "])
def test_unknown_recipe(name: str) -> None:
    with pytest.raises(VqeError, match="no recipe"):
        recipe_of(name)
