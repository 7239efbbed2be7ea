"""What the bitstream knows, without decoding it: QPs, display order and peak quality frames.

bits, nal                           bits, NAL units
parameter_sets, scaling_lists, vui  SPS and PPS
reference_sets, slice_header        a slice's header up to its QP
headers → Picture (picture)         the pictures of a stream: POC, what is skipped, what is unknown
packets                             the same for the packets of a demuxer, for the video reader
stream, order                       the same for whole streams; shown pictures in display order
hm_log, side_data                   other sources of QPs: HM's logs, FFmpeg's decoders of other codecs
pqf, peak_marker                    peaks of a whole video, or frame by frame
"""
