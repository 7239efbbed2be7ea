import torch
from command import one_sentence, vqe

from vqe_cli import networks
from vqe_cli.weights.load import read_header

SWINIR = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 8, "mlp_ratio": 2}


def test_import_writes_weights_that_say_what_they_are(tmp_path):
    torch.save({"params": networks.build("swinir", SWINIR).state_dict()}, tmp_path / "official.pth")
    done = vqe("weights", "import", tmp_path / "official.pth", tmp_path / "ours.safetensors")
    assert done.code == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "ours.safetensors")
    assert "swinir" in done.stderr
    assert read_header(tmp_path / "ours.safetensors").config["embed_dim"] == 12


def test_import_refuses_what_it_does_not_know(tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    done = vqe("weights", "import", tmp_path / "other.pth", tmp_path / "ours.safetensors")
    assert "no network that vqe knows" in one_sentence(done)
    assert not (tmp_path / "ours.safetensors").exists()
