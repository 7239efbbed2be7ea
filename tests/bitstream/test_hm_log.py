"""HM's logs against the streams that they are about, and what is said of logs that do not match."""

from dataclasses import replace

import pytest
from hevc_truth import COPIES, coded, file, truth

from vqe_cli.bitstream import hm_log, order
from vqe_cli.errors import VqeError

MATCHING = [
    "hm165_ldp_qp37",
    "hm_ldp_idr8",
    "hm_ldp_qp37",
    "hm_ldp_rc",
    "hm_ldp_slices_dqp",
    "hm_ra_idr_qp37",
]
MATCHING += ["hm_ra_qp37", "hmx_ra_picoutput"]


@pytest.mark.parametrize("end", ["enc", "dec"])
@pytest.mark.parametrize("name", MATCHING)
def test_logs_tell_the_qps_of_unreadable_headers(name: str, end: str):
    pictures, _ = coded(file(f"streams/{name}.bin"))
    blind = [replace(picture, qp=None, kind="?", slice_qps=(None,)) for picture in pictures]
    log = hm_log.read(file(f"logs/{name}.{end}.log"))
    assert log.encoder == (end == "enc")
    found = order.shown(hm_log.match(log, blind))
    told_slice = 0 if log.encoder else -1
    expected = truth(f"streams/{name}.bin")[1]
    assert [picture.qp for picture in found] == [frame.slice_qps[told_slice] for frame in expected]
    assert [picture.kind for picture in found] == [frame.kind for frame in expected]


@pytest.mark.parametrize("end", ["enc", "dec"])
@pytest.mark.parametrize("name", MATCHING)
def test_logs_agree_with_headers(name: str, end: str):
    pictures, _ = coded(file(f"streams/{name}.bin"))
    assert hm_log.match(hm_log.read(file(f"logs/{name}.{end}.log")), pictures) == pictures


def test_decoder_log_is_not_trusted_for_the_first_of_several_slices():
    pictures, _ = coded(file("streams/hm_ldp_slices_dqp.bin"))
    pictures[4] = replace(pictures[4], qp=None, slice_qps=(None, *pictures[4].slice_qps[1:]))
    log = hm_log.read(file("logs/hm_ldp_slices_dqp.dec.log"))
    assert hm_log.match(log, pictures)[4].qp is None


@pytest.mark.parametrize("end", ["enc", "dec"])
def test_logs_alone_give_display_order(end: str):
    log = hm_log.read(file(f"logs/hm_ra_idr_qp37.{end}.log"))
    expected = truth("streams/hm_ra_idr_qp37.bin")[1]
    found = hm_log.in_display_order(log, len(expected), "frames")
    assert [line.qp for line in found] == [frame.slice_qps[0] for frame in expected]
    with pytest.raises(VqeError, match=r"it lists 70 pictures, there are 12 frames\."):
        hm_log.in_display_order(log, 12, "frames")


def test_log_that_ends_early_says_both_counts():
    log = hm_log.read(file("logs/mismatch_hm_ra_qp37.dec.log"))
    pictures, _ = coded(file("streams/hm_ra_qp37.bin"))
    with pytest.raises(VqeError) as raised:
        hm_log.match(log, pictures, "hm_ra_qp37.bin")
    assert raised.value.message == (
        f"the log {log.path} does not match hm_ra_qp37.bin: it lists 26 pictures, the stream has 49."
    )
    assert raised.value.remedy


def test_log_of_another_stream_of_equal_length_says_where():
    log = hm_log.read(file("logs/hm_ldp_slices_dqp.enc.log"))
    pictures, _ = coded(file("streams/hm_ldp_qp51.bin"))
    with pytest.raises(
        VqeError, match=r"both have 17 pictures, but number 0 in coding order is POC 0, I, QP"
    ):
        hm_log.match(log, pictures)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("garbled.enc.log", "46 of its 48 picture lines make no sense"),
        ("binary.log", "is not an HM log"),
        ("empty.log", "is not an HM log"),
        ("absent.log", "cannot be read: No such file"),
    ],
)
def test_what_is_no_log_is_said_in_a_sentence(name: str, said: str):
    with pytest.raises(VqeError) as raised:
        hm_log.read(COPIES / "logs" / name)
    assert said in raised.value.message
    assert name in raised.value.message
    assert raised.value.message.endswith(".")
    assert raised.value.remedy.endswith(".")
