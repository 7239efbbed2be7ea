"""What encoders are given where the user says nothing, and by which options the quality of each is set."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from vqe_cli.video.formats import SITINGS
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.hdr import encoder_parameters
from vqe_cli.video.targets import Encoding

# Settings where the user names none, beside the quality.
DEFAULT_OPTIONS: dict[str, dict[str, str]] = {
    "libx265": {"preset": "medium"},
    "libx264": {"preset": "medium"},
    "libsvtav1": {"preset": "6"},
    "libvpx-vp9": {"b": "0", "cpu-used": "2", "row-mt": "1"},
    "hevc_nvenc": {"preset": "p5"},
    "h264_nvenc": {"preset": "p5"},
    "av1_nvenc": {"preset": "p5"},
    "ffv1": {"level": "3", "slicecrc": "1", "g": "1"},
}
# DNxHD of any size and rate is DNxHR, whose profiles say how many bits a picture gets.
DNXHR_PROFILES = {"yuv422p": "dnxhr_hq", "yuv422p10le": "dnxhr_hqx"}
DNXHR_444 = "dnxhr_444"

# FFmpeg counts the global quality of encoders without an option of their own in steps of this (FF_QP2LAMBDA).
LAMBDA = 118

# --- the quality of --crf, lower is better ---


def _crf(value: float) -> dict[str, str]:
    return {"crf": f"{value:g}"}


def _nvenc(value: float) -> dict[str, str]:
    """Constant quality, 1 … 51; 0 would leave it to the rate, so that it becomes the smallest step."""
    return {"rc": "vbr", "b": "0", "cq": f"{max(value, 0.01):g}"}


def _qsv(value: float) -> dict[str, str]:
    """ICQ, whole numbers 1 … 51."""
    return {"global_quality": str(max(1, round(value)))}


def _videotoolbox(value: float) -> dict[str, str]:
    """Its quality goes up to 100: a CRF of 0 … 50 becomes 100 … 1."""
    return _fixed_quantizer(min(max(100 - 2 * value, 1), 100))


def _fixed_quantizer(value: float) -> dict[str, str]:
    return {"flags": "+qscale", "global_quality": str(round(LAMBDA * value))}


# How the quality of each encoder is set; one that is not listed has no such option.
QUALITY: dict[str, Callable[[float], dict[str, str]]] = {
    "libx265": _crf,
    "libx264": _crf,
    "libsvtav1": _crf,
    "libaom-av1": _crf,
    "libvpx-vp9": _crf,
    "hevc_nvenc": _nvenc,
    "h264_nvenc": _nvenc,
    "av1_nvenc": _nvenc,
    "hevc_qsv": _qsv,
    "hevc_videotoolbox": _videotoolbox,
    "prores_ks": _fixed_quantizer,
}
# Encoders on the scale of H.264 and HEVC, whose default follows the input's QP, and the fixed ones of others.
QP_SCALED = ("libx265", "libx264", "hevc_nvenc", "h264_nvenc", "hevc_qsv", "hevc_videotoolbox")
DEFAULT_QUALITY = {"libsvtav1": 12.0, "libvpx-vp9": 10.0, "av1_nvenc": 12.0}
# What those without such an option take instead.
WITHOUT_QUALITY = {
    "ffv1": ": it is lossless",
    "dnxhd": ", or choose a profile: -e profile=dnxhr_lb, dnxhr_sq, dnxhr_hq, dnxhr_hqx (10 bit), dnxhr_444",
}
# Whoever gives one of these has another way of saying how good, or how large, the result should be.
OWN_WAYS = frozenset({"crf", "qp", "b", "q", "cq", "rc", "global_quality"})

# Options, of FFmpeg and in an encoder's own list, of encoding in several passes.
PASSES = ("pass", "stats", "passlogfile", "stats-file")

# x265's cutree writes past its arrays in very narrow pictures (33 to 48 pixels wide; libx265 of PyAV 18.1).
X265_CUTREE_WIDTH = 128

# FFV1 codes in parallel by slices, which tiny pictures cannot be cut into.
FFV1_SLICED = 64


def single_pass(encoding: Encoding) -> Encoding:
    """The same without a part in an encoding of several passes, whose statistics are of the whole video."""
    options = dict(encoding.options)
    for name in PASSES:
        options.pop(name, None)
    for name in [name for name in options if name.endswith("-params")]:
        parts = [part for part in options[name].split(":") if part.partition("=")[0] not in PASSES]
        options[name] = ":".join(parts)
        if not parts:
            del options[name]
    return replace(encoding, options=options)


def default_crf(first_qp: float | None) -> float:
    """The CRF of x265 that keeps what the network gained: the better the input, the lower.

    An encoding of error e costs an input of error E about 10·log10(1 + e/E) dB, and both follow their QPs; so
    the CRF keeps its distance to the first picture's QP. Loss of luma PSNR so measured (first 12 pictures of
    every third clip of the val set, preset medium), mean over the clips: x265 QP 22 0.09 dB, 27 0.03, 32
    0.03, 37 0.01, CRF 28 0.09, 200 kbit/s 0.07, 60 kbit/s 0.01, x264 CRF 32 0.00, HM QP 37 -0.01.
    """
    if first_qp is None:
        return 8.0
    return min(max(first_qp - 22.0, 2.0), 12.0)


def quality(codec: str, info: VideoInfo, wanted: Encoding) -> float | None:
    """The CRF (or constant QP) that an encoder is given, None where it has none or works by rate."""
    for name in ("crf", "qp", "cq"):
        try:
            return float(wanted.options[name])
        except (KeyError, ValueError):
            continue
    return _asked(codec, info, wanted) if codec in QUALITY else None


def _asked(codec: str, info: VideoInfo, wanted: Encoding) -> float | None:
    """The quality of --crf, or else the default where the user's options leave room for it."""
    if wanted.crf is not None:
        return wanted.crf
    user = wanted.options
    if user.keys() & OWN_WAYS or any("qp=" in value or "crf=" in value for value in user.values()):
        return None
    return default_crf(info.first_qp) if codec in QP_SCALED else DEFAULT_QUALITY.get(codec)


def options_for(
    codec: str, info: VideoInfo, wanted: Encoding, size: tuple[int, int], pix_fmt: str
) -> dict[str, str]:
    """Our defaults, under what the user asked for; pix_fmt: what the encoder writes."""
    user = dict(wanted.options)
    options = dict(DEFAULT_OPTIONS.get(codec, {}))
    asked = _asked(codec, info, wanted)
    if asked is not None:
        options.update(QUALITY.get(codec, _crf)(asked))
    if codec == "ffv1" and min(size) >= FFV1_SLICED:
        options["slices"] = "4"
    if codec == "dnxhd" and "b" not in user:
        options["profile"] = DNXHR_PROFILES.get(pix_fmt, DNXHR_444)
    if 1 <= info.tags.get("chroma_location", 0) <= len(SITINGS):
        options["chroma_sample_location"] = SITINGS[info.tags["chroma_location"]]
    return options | user | _own_parameters(codec, info.side_data, size, user)


def _own_parameters(
    codec: str, side_data: Mapping[str, bytes], size: tuple[int, int], user: Mapping[str, str]
) -> dict[str, str]:
    """The encoder's own list of parameters: ours, then the user's."""
    key, ours = encoder_parameters(codec, side_data)
    if codec == "libx265":
        key, ours = "x265-params", ["log-level=none", *ours]
        if size[0] <= X265_CUTREE_WIDTH:
            ours.append("cutree=0")
    return {key: ":".join([*ours, *filter(None, [user.get(key)])])} if ours else {}
