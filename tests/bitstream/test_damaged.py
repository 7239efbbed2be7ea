"""Damaged streams: a QP is right or unknown, one warning says so, nothing is raised (expected.json)."""

import random

import av
import pytest
from hevc_truth import COPIES, coded, decoded, file, first_slice_qps

from vqe_cli.bitstream import order
from vqe_cli.bitstream.packets import PacketParser

PARENT = first_slice_qps("streams/hm_ldp_qp32.bin")
REPEATED = first_slice_qps("streams/x265_repeat_aud.hevc")
UNREADABLE = ["empty.hevc", "random.hevc", "text.hevc"]


def from_headers(name: str) -> tuple[list[int | None], list[str]]:
    pictures, warnings = coded(COPIES / "damaged" / name)
    return [picture.qp for picture in order.shown(pictures)], warnings


@pytest.mark.parametrize(
    ("name", "expected", "warnings"),
    [
        ("garbage_between.hevc", PARENT, 0),
        ("missing_pictures.hevc", PARENT[:8] + PARENT[10:], 0),
        ("trunc_mid_nal.hevc", PARENT[:21], 0),
        ("no_sps.hevc", [None] * 33, 1),
        ("first_sps_missing.hevc", [None] * 10 + REPEATED[10:], 1),
        ("first_pps_missing.hevc", [None] * 10 + REPEATED[10:], 1),
        ("empty.hevc", [], 0),
        ("random.hevc", [], 0),
        ("text.hevc", [], 0),
    ],
)
def test_headers_of_damaged_streams(name: str, expected: list[int | None], warnings: int):
    found, said = from_headers(name)
    assert found == expected
    assert len(said) == warnings


@pytest.mark.parametrize("name", ["bitflip1.hevc", "bitflip2.hevc", "bitflip3.hevc"])
def test_a_flipped_bit_harms_no_other_picture(name: str):
    found, warnings = from_headers(name)
    assert found[:10] + found[11:] == PARENT[:10] + PARENT[11:]
    assert found[10] is None or 0 <= found[10] <= 51
    assert len(warnings) == (found[10] is None)


def test_warning_counts_pictures_and_names_the_cause():
    assert from_headers("no_sps.hevc")[1] == [
        "the QP of 33 of 33 pictures is unknown: the header of picture 0 cannot be read "
        "(it refers to SPS 0, which is missing)"
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bitflip1.hevc", PARENT[:10] + PARENT[11:]),
        ("bitflip2.hevc", PARENT[:10] + PARENT[11:]),
        ("bitflip3.hevc", PARENT[:10] + PARENT[11:]),
        ("first_pps_missing.hevc", REPEATED[10:]),
        ("first_sps_missing.hevc", REPEATED),  # FFmpeg finds the later SPS while probing
        ("garbage_between.hevc", PARENT),
        ("missing_pictures.hevc", PARENT[:8] + PARENT[10:]),
        ("trunc_mid_nal.hevc", PARENT[:21]),
    ],
)
def test_what_ffmpeg_shows_of_damaged_streams_has_its_qp(name: str, expected: list[int | None]):
    found, warnings = decoded(COPIES / "damaged" / name)
    assert [pictures[0].qp for pictures in found] == expected
    assert len(warnings) <= 1


def test_random_nal_units_give_no_qp():
    found, warnings = from_headers("random_startcodes.hevc")
    assert found
    assert set(found) == {None}
    assert len(warnings) == 1


FUZZED = ["streams/hmx_ldb_ltr_sps.bin", "streams/hm_ra_444.bin", "streams/x265_hrd_sei.hevc"]


@pytest.mark.parametrize("name", FUZZED)
def test_flipped_bits_never_raise(name: str):
    whole = file(name).read_bytes()
    generator = random.Random(name)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(generator.choice([1, 10, 200])):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        parser = PacketParser()
        pictures = parser.parse(bytes(data[: generator.randrange(len(data))]))
        assert all(picture.qp is None or -48 <= picture.qp <= 51 for picture in pictures)
        assert len(parser.warnings) <= 1
        order.shown(pictures)


def test_flipped_bits_in_length_prefixed_packets_never_raise():
    with av.open(str(file("containers/hm_ra_qp37.hvc1.mp4"))) as container:
        video = container.streams.video[0]
        extradata = video.codec_context.extradata
        packets = [bytes(packet) for packet in container.demux(video) if packet.size]
    generator = random.Random(8)
    for _ in range(60):
        parser = PacketParser(_flipped(extradata, generator))
        for packet in packets:
            for picture in parser.parse(_flipped(packet, generator)):
                assert picture.qp is None or 0 <= picture.qp <= 51
        assert len(parser.warnings) <= 1


def _flipped(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    changed[generator.randrange(min(len(data), 60))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def test_a_length_past_the_packet_is_said():
    with av.open(str(file("containers/hm_ra_qp37.hvc1.mp4"))) as container:
        video = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(video) if packet.size]
        parser = PacketParser(video.codec_context.extradata)
    assert [len(parser.parse(packet[:-1])) for packet in packets] == [1] * 49
    assert parser.warnings == ["49 packets are damaged: a NAL unit in them is longer than its packet"]
