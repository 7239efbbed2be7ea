"""Every stream's pictures against the reference decoder, from headers alone and through FFmpeg's decoder."""

import filecmp

import pytest
from conftest import shared_path
from hevc_truth import COPIES, COUNTED_ON, coded, decoded, described, file, first_slice_qps, names, truth

from vqe_cli.bitstream import order
from vqe_cli.bitstream.packets import PacketParser, decoded_from

STREAMS, CONTAINERS = names("streams"), names("containers")


def test_all_shared_streams_are_tested():
    shared_path("hevc/streams")
    assert (len(STREAMS), len(CONTAINERS), len(names("other"))) == (104, 37, 9)


def test_copies_are_those_of_the_shared_truth():
    shared = shared_path("hevc")
    copies = [path.relative_to(COPIES) for path in COPIES.rglob("*") if path.parent != COPIES]
    copies = [path for path in copies if (COPIES / path).is_file()]
    assert len(copies) > 60
    assert not [path for path in copies if not filecmp.cmp(COPIES / path, shared / path, shallow=False)]


@pytest.mark.parametrize("name", STREAMS)
def test_headers_tell_pictures_in_display_order(name: str):
    count, expected = truth(name)
    pictures, warnings = coded(file(name))
    found = order.shown(pictures)
    if name in COUNTED_ON:
        assert max(picture.sequence for picture in found) == 1
        expected = [frame._replace(sequence=int(frame.poc >= 32)) for frame in expected]
    assert [described(picture) for picture in found] == expected
    assert [picture.qp for picture in found] == [frame.slice_qps[0] for frame in expected]
    assert [picture.irap for picture in found] == [16 <= frame.nal_type <= 21 for frame in expected]
    assert len(pictures) == count
    assert warnings == []


@pytest.mark.parametrize("name", STREAMS + CONTAINERS)
def test_qp_reaches_the_decoded_frame(name: str):
    found, warnings = decoded(file(name))
    assert all(len(pictures) == 1 for pictures in found)
    expected = [(frame.slice_qps, frame.kind, frame.nal_type) for frame in truth(name)[1]]
    assert [(p.slice_qps, p.kind, p.nal_type) for [p] in found] == expected
    assert warnings == []


def test_second_video_stream_does_not_disturb():
    found, warnings = decoded(shared_path("hevc/containers/two_video_streams.mkv"))
    assert len(found) == 20
    assert all(pictures[0].qp is not None for pictures in found)
    assert warnings == []


def test_packets_say_where_their_pictures_came_from():
    data = file("streams/hm_ldp_idr8.bin").read_bytes()
    cuts = [data.index(b"\x00\x00\x00\x01\x02", at) for at in (4000, 6000)]
    pieces = [data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] :]]
    parser = PacketParser()
    pictures = [picture for piece in pieces for picture in parser.parse(piece)]
    assert [picture.qp for picture in pictures] == first_slice_qps("streams/hm_ldp_idr8.bin")
    assert {picture.packet for picture in pictures} == {0, 1, 2}
    assert [picture.packet for picture in pictures] == sorted(picture.packet for picture in pictures)


def test_a_packet_of_several_pictures_tells_no_qp():
    parser = PacketParser(None)
    pictures = parser.parse(file("streams/hm_ldp_idr8.bin").read_bytes())
    assert decoded_from(pictures[:1]) == pictures[0]
    assert decoded_from([]) is None
    several = decoded_from(pictures[:2])
    assert several is not None
    assert (several.qp, several.kind) == (None, "?")


def test_a_seek_starts_afresh():
    whole = file("streams/hm_ra_qp37.bin").read_bytes()
    parser = PacketParser(None)
    before = parser.parse(whole)
    assert len(before) == 49
    assert sum(picture.output for picture in before) == 49
    second_cra = file("streams/hm_ra_cracut.hevc").read_bytes()
    parser.discontinuity()
    after = parser.parse(second_cra)
    assert sum(picture.decode_index < 0 for picture in after) == 15
    assert {picture.sequence for picture in after} == {1}
