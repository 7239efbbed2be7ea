"""What the bitstream knows, without decoding it: QPs, display order and peak quality frames.

nal                         NAL units and their bits
structures, parameter_sets  SPS and PPS
slice_header                a slice's header up to its QP
headers                     the pictures of a stream: POC, what is skipped, what is unknown
packets                     the same from the packets of a demuxer, for the video reader
order                       shown pictures in display order
av1_headers, av1            base_q_idx of AV1 pictures
hm_log, side_data           other sources of QPs: HM's logs, FFmpeg's decoders of other codecs
peaks                       peak quality frames of a whole video, or frame by frame
"""
