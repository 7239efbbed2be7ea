"""Ten thousand broken parameter sets and slice headers: none raises, and every QP is in range or unknown."""

import random
import time

import pytest
from hevc_truth import file

from vqe_cli.bitstream import order
from vqe_cli.bitstream.nal import START_CODE, annex_b, is_slice, nal_header
from vqe_cli.bitstream.packets import PacketParser

pytestmark = pytest.mark.slow

TIMES = 10_000
STREAMS = [
    "streams/hm_ra_qp37.bin",
    "streams/hmx_ldb_ltr_sps.bin",
    "streams/hm_ra_444.bin",
    "streams/hm_ra_wp.bin",
    "streams/hmx_ra_listmod_wp.bin",
    "streams/hm_ldp_slices_dqp.bin",
    "streams/hm_ldp_scalingfile.bin",
    "streams/hm_ra_vui_sei.bin",
    "streams/x265_hrd_sei.hevc",
    "streams/x265_main12.hevc",
]


def headers(name: str, most: int = 12) -> list[bytes]:
    """The first NAL units of a stream, each cut to what its header can take."""
    return [nal[:160] for nal, _ in zip(annex_b(file(name).read_bytes()), range(most), strict=False)]


def mutated(nal: bytes, chance: random.Random) -> bytes:
    data = bytearray(nal)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        at = chance.randrange(2, max(3, min(len(data), 60)))
        kind = chance.randrange(5)
        if kind <= 1 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[at : at + 2] = chance.randbytes(2)
        elif kind == 3:
            del data[at:]
        else:
            data[at:at] = bytes([chance.choice([0, 255])]) * chance.randrange(1, 5)
    return bytes(data)


@pytest.mark.parametrize("name", STREAMS)
def test_broken_headers(name: str) -> None:
    nals = headers(name)
    chance = random.Random(name)
    slowest = 0.0
    for _ in range(TIMES // len(STREAMS)):
        hit = {chance.randrange(len(nals)) for _ in range(chance.choice([1, 1, 2, 4]))}
        broken = [mutated(nal, chance) if index in hit else nal for index, nal in enumerate(nals)]
        start = time.process_time()
        parser = PacketParser(b"".join(START_CODE + nal for nal in broken if not _is_slice(nal)))
        pictures = [picture for nal in broken if _is_slice(nal) for picture in parser.parse(START_CODE + nal)]
        shown = order.shown(pictures)
        slowest = max(slowest, time.process_time() - start)
        assert len(shown) <= len(pictures) <= len(nals)
        assert all(picture.qp is None or -48 <= picture.qp <= 51 for picture in pictures)
        assert all(picture.kind in "IPB?" for picture in pictures)
        assert len(parser.warnings) <= 1
    assert slowest < 1


def _is_slice(nal: bytes) -> bool:
    header = nal_header(nal)
    return header is not None and is_slice(header.nal_type)
