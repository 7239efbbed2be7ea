"""What a run leaves behind survives full disks, travels in parts, and starts other runs."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_disk import fill_disk
from safetensors.torch import save_file
from torch import nn

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.training import checkpoint
from vqe_cli.training.export import TrainedPhase, card_of, write_weights
from vqe_cli.training.schema import NetworkConfig, TrainConfig
from vqe_cli.training.start import build_network
from vqe_cli.weights.load import read_header

SMALL = TrainConfig("small", NetworkConfig("qecnn", {"channels": 8, "blocks": 2}))


def state_of(step: int, size: int = 10) -> dict[str, object]:
    torch.manual_seed(step)
    return {
        "config": {"network": {"arch": "qecnn", "config": {"channels": 8, "blocks": 2}}},
        "step": step,
    } | {"network": {"weight": torch.randn(size)}}


@pytest.mark.parametrize("shard_mib", [None, 1])
def test_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, shard_mib: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "last.pt"
    checkpoint.save_state(last, state_of(1), shard_mib)
    fill_disk(monkeypatch)
    with pytest.raises(VqeError, match=r"cannot write .*last\.pt.*version before is intact"):
        checkpoint.save_state(last, state_of(2, 10**6), shard_mib)
    assert checkpoint.load_state(last, SMALL)["step"] == 1


def test_shards_stay_below_the_size_and_come_together(tmp_path: Path) -> None:
    last = tmp_path / "last.pt"
    for step in (1, 2):
        checkpoint.save_state(last, state_of(step, 700_000), shard_mib=1)
    parts = [path for path in tmp_path.iterdir() if path.suffix != ".json"]
    assert not last.exists()
    assert len(parts) == 3  # 2.8 MB, and none of the first version's
    assert all(part.stat().st_size < 2**20 for part in parts)
    state = checkpoint.load_state(last, SMALL)
    assert state["step"] == 2
    assert torch.equal(state["network"]["weight"], state_of(2, 700_000)["network"]["weight"])  # type: ignore[index]
    parts[1].write_bytes(b"damaged")
    with pytest.raises(VqeError, match=r"a part of last\.pt, is damaged"):
        checkpoint.load_state(last, SMALL)
    parts[1].unlink()
    with pytest.raises(VqeError, match="is missing"):
        checkpoint.load_state(last, SMALL)
    # Whole again: the parts go.
    checkpoint.save_state(last, state_of(3))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    "index",
    [
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"parts": 3}',
        b'{"parts": [3]}',
        b'{"parts": [{"file": "a"}]}',
        b'{"parts": [{"file": "../a", "bytes": 1, "sha256": "x"}]}',
        b'{"parts": [{"file": "/etc/hostname", "bytes": 1, "sha256": "x"}]}',
        b'{"parts": [{"file": "", "bytes": 1, "sha256": "x"}]}',
        b'{"parts": [{"file": 3, "bytes": 1, "sha256": "x"}]}',
        b'{"parts": ' + b"[" * 100_000,
    ],
    ids=range(12),
)
def test_an_index_of_parts_that_lies_is_refused(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "last.pt.parts.json").write_bytes(index)
    with pytest.raises(VqeError, match=r"last\.pt\.parts\.json"):
        checkpoint.load_state(tmp_path / "last.pt", SMALL)


def test_full_disk_among_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = tmp_path / "last.pt"
    checkpoint.save_state(last, state_of(1, 700_000), shard_mib=1)
    written = []
    write = Path.write_bytes

    def runs_full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", runs_full)
    with pytest.raises(VqeError, match="No space left"):
        checkpoint.save_state(last, state_of(2, 700_000), shard_mib=1)
    monkeypatch.undo()
    assert checkpoint.load_state(last, SMALL)["step"] == 1
    assert not written[0].exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x04."])
def test_unreadable_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(VqeError, match="is not a readable checkpoint"):
        checkpoint.load_state(tmp_path / "last.pt", SMALL)
    torch.save([1], tmp_path / "last.pt")
    with pytest.raises(VqeError, match="is not a checkpoint of a training run"):
        checkpoint.load_state(tmp_path / "last.pt", SMALL)


def test_export_tells_what_it_is(tmp_path: Path) -> None:
    network = build_network(SMALL)
    card = card_of([TrainedPhase(SMALL, 10, 90)], 7, {"qp37": 0.3})
    write_weights(tmp_path / "small.safetensors", network, SMALL, card)
    header = read_header(tmp_path / "small.safetensors")
    assert (header.arch, header.config) == ("qecnn", {"channels": 8, "blocks": 2})
    assert header.card["duplicate_frames_removed"] == 7
    assert header.card["iterations"] == 10
    assert header.card["gain_db_on_val_while_training"] == {"qp37": 0.3}
    read = checkpoint.read_weights(tmp_path / "small.safetensors")
    for key, value in network.state_dict().items():
        assert torch.equal(read[key], value.bfloat16().float())


def start_from(path: Path, config: NetworkConfig) -> tuple[nn.Module, nn.Module]:
    """A network that starts from a file, and one that starts fresh."""
    torch.manual_seed(0)
    told = TrainConfig("small", config)
    return build_network(replace(told, network=replace(config, init=str(path)))), build_network(told)


@pytest.mark.parametrize("prefix", ["", "generator.", "module."])
def test_init_from_a_public_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture, prefix: str) -> None:
    """mmagic keeps BasicVSR++ under "state_dict" and "generator."; what fits is taken, the rest is listed."""
    small = {"mid_channels": 8, "num_blocks": 1, "deform_groups": 2, "is_low_res_input": False}
    torch.manual_seed(7)
    public = networks.build("basicvsrpp", {**small, "reconstruction_blocks": 1})
    tree = {"state_dict": {prefix + key: value for key, value in public.state_dict().items()}}
    tree["state_dict"][prefix + "extra"] = torch.zeros(3)
    torch.save(tree, tmp_path / "public.pth")
    caplog.set_level(logging.INFO, "vqe.training")
    wanted = {**small, "reconstruction_blocks": 2, "qp_conditioning": True}
    network, _ = start_from(tmp_path / "public.pth", NetworkConfig("pqf_basicvsrpp", wanted))
    own = network.state_dict()
    for key, value in public.state_dict().items():
        assert torch.equal(own[key], value), key
    told = caplog.text
    assert f"of {len(own)} tensors are from" in told
    assert "start fresh: modulation.embed.expand.bias" in told
    assert "are not in this network: extra" in told


def test_init_of_a_row_of_groups_from_a_public_checkpoint(tmp_path: Path) -> None:
    """The paper's config names its groups ([5], [5, 10] …); a public network has one, without a name."""
    small = {"mid_channels": 8, "num_blocks": 1, "deform_groups": 2, "is_low_res_input": False}
    torch.manual_seed(7)
    public = networks.build("basicvsrpp", {**small, "reconstruction_blocks": 2})
    torch.save({"state_dict": public.state_dict()}, tmp_path / "public.pth")
    clip = torch.rand(1, 2, 3, 32, 32)
    row, _ = start_from(
        tmp_path / "public.pth", NetworkConfig("pqf_basicvsrpp", {**small, "reconstruction_blocks": [2]})
    )
    assert torch.equal(row(clip), public(clip))
    grown, _ = start_from(
        tmp_path / "public.pth", NetworkConfig("pqf_basicvsrpp", {**small, "reconstruction_blocks": [2, 3]})
    )
    features = torch.rand(1, 8, 8, 8)
    torch.testing.assert_close(grown.reconstruction[1](features), features)  # type: ignore[operator]


def test_init_from_the_official_swinir(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """KAIR keeps its weights under "params", with buffers; told the QP, the network is the same at first."""
    small = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 8, "upsampler": ""}
    torch.manual_seed(7)
    official = networks.build("swinir", {**small, "qp_conditioning": False})
    buffers = {
        "layers.0.residual_group.blocks.1.attn_mask": torch.zeros(4, 64, 64),
        "layers.0.residual_group.blocks.0.attn.relative_position_index": torch.zeros(64, 64),
    }
    torch.save({"params": {**official.state_dict(), **buffers}}, tmp_path / "005_colorDN.pth")
    caplog.set_level(logging.INFO, "vqe.training")
    config = NetworkConfig("swinir", {**small, "qp_conditioning": True})
    network, _ = start_from(tmp_path / "005_colorDN.pth", config)
    own, taken = network.state_dict(), len(official.state_dict())
    assert f"{taken} of {len(own)} tensors are from" in caplog.text
    assert f"{len(own) - taken} start fresh: layers.0.modulation" in caplog.text
    assert "are not in this network" not in caplog.text
    picture = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(picture, torch.tensor([37.0, float("nan")])), official(picture, None))


def test_init_from_the_runs_own_files(tmp_path: Path) -> None:
    """Weights alone, whole or in parts, or a checkpoint, whose averaged weights are taken."""
    torch.manual_seed(3)
    trained = networks.build("qecnn", SMALL.network.config)
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    wanted = {key: value.bfloat16().float() for key, value in trained.state_dict().items()}
    card = card_of([TrainedPhase(SMALL)], 0, {})
    write_weights(tmp_path / "w.safetensors", trained, SMALL, card, shard_mib=1)
    assert checkpoint.index_path(tmp_path / "w.safetensors").is_file()
    checkpoint.save_state(tmp_path / "last.pt", {"ema": trained.state_dict(), "network": {}})
    for name in ("w.safetensors", "last.pt"):
        network, _ = start_from(tmp_path / name, SMALL.network)
        expected = wanted if name == "w.safetensors" else trained.state_dict()
        for key, value in network.state_dict().items():
            assert torch.equal(value, expected[key])


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"nothing": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(VqeError, match=r"nothing in .* fits"):
        start_from(tmp_path / "other.safetensors", SMALL.network)
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(VqeError, match="not a readable safetensors file"):
        start_from(tmp_path / "torn.safetensors", SMALL.network)
    torch.save({"step": 3}, tmp_path / "empty.pt")
    with pytest.raises(VqeError, match="holds no weights"):
        start_from(tmp_path / "empty.pt", SMALL.network)


def test_misfits_are_told_with_both_shapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vqe.training")
    wide = networks.build("qecnn", {"channels": 8, "blocks": 2, "unshuffle": 4})
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    start_from(tmp_path / "wide.safetensors", SMALL.network)
    assert "head.weight (8, 48, 3, 3), not (8, 12, 3, 3)" in caplog.text


def test_index_of_parts_is_as_documented(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path / "last.pt", state_of(1), shard_mib=1)
    index = json.loads((tmp_path / "last.pt.parts.json").read_text())
    [part] = index["parts"]
    assert part["bytes"] == index["bytes"] == (tmp_path / part["file"]).stat().st_size
