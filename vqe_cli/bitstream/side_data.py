"""QP of other codecs, from what FFmpeg's decoders export (codec option `export_side_data=venc_params`)."""

from typing import Any

import av
import numpy as np
from av.sidedata.encparams import VideoEncParams, VideoEncParamsType

# AVVideoBlockParams: src_x, src_y, w, h and delta_qp, all 32-bit (libavutil/video_enc_params.h).
WIDTH_AT, HEIGHT_AT, DELTA_AT, BLOCK_BYTES = 2, 3, 4, 20

EXPORT_OPTION = {"export_side_data": "venc_params"}  # for `CodecContext.options` before decoding starts


def frame_qp(frame: av.VideoFrame) -> tuple[float | None, float | None]:
    """(qp, network_qp) of a decoded frame; both None where its decoder exports nothing (MJPEG, HEVC).

    qp: mean over the blocks, weighted by their area, on the codec's own scale: H.264's luma QP, -6 (depth -
    8) … 51; a quantiser scale, 1 … 112 (MPEG-1, -2, -4, H.263); VP9's index, 0 … 255. Lower is better on
    each, so that peaks can be picked. network_qp: the same where the scale is HEVC's (H.264), None otherwise.
    """
    data = frame.side_data.get("VIDEO_ENC_PARAMS")
    if not isinstance(data, VideoEncParams):
        return None, None
    qp = data.qp + _mean_delta(data)
    if data.codec_type == VideoEncParamsType.H264:
        # FFmpeg counts from the bit depth's lowest QP; slice headers, and HEVC, from that of 8 bits.
        qp -= 6 * (frame.format.components[0].bits - 8)
        return qp, qp
    if data.codec_type in (VideoEncParamsType.MPEG2, VideoEncParamsType.VP9):
        return qp, None
    return None, None


def _mean_delta(data: VideoEncParams) -> float:
    """The blocks' mean difference to the picture's base QP; 0 where there are no blocks."""
    if not data.nb_blocks:
        return 0.0
    assert data.block_size % 4 == 0 and data.block_size >= BLOCK_BYTES
    raw: Any = data  # PyAV's type hints do not say that it is a buffer
    count = data.nb_blocks * data.block_size // 4
    words = np.frombuffer(memoryview(raw), np.int32, count, offset=data.blocks_offset)
    words = words.reshape(data.nb_blocks, -1)
    area = words[:, WIDTH_AT].astype(np.int64) * words[:, HEIGHT_AT]
    return float((words[:, DELTA_AT] * area).sum() / area.sum()) if area.sum() else 0.0
