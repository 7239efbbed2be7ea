"""Names of encoders that are offered; apart from `encoders`, so that completion needs no PyAV."""

# As far as they open on the machine; for the eye first, then for editing. Any that FFmpeg has may be given.
OFFERED = (
    "libx265",
    "libx264",
    "libsvtav1",
    "libvpx-vp9",
    "hevc_nvenc",
    "hevc_qsv",
    "hevc_videotoolbox",
    "ffv1",
    "prores_ks",
    "dnxhd",
)
