"""Configurations that several tests of the training room share."""

from vqe_cli.training.schema import (
    DataConfig,
    NetworkConfig,
    ScheduleConfig,
    TrainConfig,
    ValidationConfig,
)

IMAGE = NetworkConfig("qecnn", {"channels": 8, "blocks": 1})
VIDEO = NetworkConfig(
    "motion_fusion", {"spatial": {"channels": 8, "blocks": 2, "unshuffle": 2}, "blocks": 1, "channels": 8}
)
CRDS = NetworkConfig(
    "crds",
    {
        "channels": 8,
        "steps": 2,
        "encoder_blocks": 1,
        "decoder_blocks": 1,
        "propagation_blocks": 1,
        "heads": 2,
    },
)
LATENTS = NetworkConfig(
    "latent_autoencoder", {"channels": 8, "encoder_blocks": 1, "decoder_blocks": 1, "feature_stride": 2}
)
FLOW = NetworkConfig("spynet", {"levels": 2})
NETWORKS = {"image": IMAGE, "video": VIDEO, "flow": FLOW}


def shared_work(task: str, batch: int) -> TrainConfig:
    """A run whose losses can be compared step by step."""
    return TrainConfig(
        "small",
        NETWORKS[task],
        DataConfig({"qp37": 1.0}, frames=1 if task == "image" else 3, crop=32, batch=batch),
        ScheduleConfig(steps=6, rate=1e-3, flow_frozen=0.2),
        validation=ValidationConfig(clips=2),
        precision="fp32",
    )
