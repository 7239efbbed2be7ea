from pathlib import Path

import golden_data as golden
import pytest
import torch
from safetensors.torch import load_file, save_file

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.weights.load import read_header
from vqe_cli.weights.public_checkpoints import import_checkpoint, read_checkpoint

BASICVSRPP = {"mid_channels": 16, "num_blocks": 2, "max_residue_magnitude": 10, "deform_groups": 16}
SWINIR = {
    "in_chans": 3,
    "embed_dim": 12,
    "depths": [2, 1],
    "num_heads": [2, 3],
    "window_size": 8,
    "mlp_ratio": 2.0,
    "upscale": 1,
    "img_range": 1.0,
    "upsampler": "",
    "resi_connection": "1conv",
}
CONFIGS = [
    ("spynet", {"levels": 6}),
    ("basicvsrpp", BASICVSRPP | {"is_low_res_input": True, "reconstruction_blocks": 5}),
    ("basicvsrpp", BASICVSRPP | {"is_low_res_input": False, "reconstruction_blocks": 15}),
    ("swinir", SWINIR),
    ("swinir", SWINIR | {"window_size": 7, "img_range": 255.0, "in_chans": 1}),
    ("swinir", SWINIR | {"upscale": 3, "upsampler": "pixelshuffle"}),
    ("swinir", SWINIR | {"upscale": 4, "upsampler": "pixelshuffle", "resi_connection": "3conv"}),
    ("swinir", SWINIR | {"upscale": 2, "upsampler": "pixelshuffledirect"}),
    ("swinir", SWINIR | {"upscale": 4, "upsampler": "nearest+conv"}),
]


@pytest.mark.parametrize(("arch", "config"), CONFIGS)
def test_settings_are_told_from_shapes(arch, config, tmp_path):
    torch.save(networks.build(arch, config).state_dict(), tmp_path / "raw.pth")
    found = read_checkpoint(tmp_path / "raw.pth")
    assert (found.arch, found.config) == (arch, config)


@torch.inference_mode()
def test_an_imported_official_swinir_computes_the_golden_output(tmp_path):
    case = golden.description("swinir_jpeg_w7_gray")
    # As the official files are: under "params", with the buffers that a loader must do without.
    buffers = {key: torch.zeros(shape) for key, (shape, _) in case["buffers_not_stored"].items()}
    params = golden.weights(["swinir_jpeg_w7_gray"]) | buffers
    torch.save({"params": params}, tmp_path / "official.pth")
    import_checkpoint(tmp_path / "official.pth", tmp_path / "ours.safetensors")
    header = read_header(tmp_path / "ours.safetensors")
    net = networks.build(header.arch, header.config).eval()
    net.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    given = golden.tensors("swinir_jpeg_w7_gray", "input")["45x37.x_u8"]
    expected = golden.tensors("swinir_jpeg_w7_gray", "output")["45x37.y"]
    assert golden.difference(net(golden.picture(given)), expected) <= case["tolerance"]["max_abs"]
    assert header.card["imported"]["file"] == "official.pth"


@torch.inference_mode()
def test_an_imported_mmagic_checkpoint_computes_the_golden_output(tmp_path):
    case = golden.description("bvpp_x1_t2")
    weights = golden.weights(case["weights_from"]) | {"spynet.mean": torch.zeros(1, 3, 1, 1)}
    state = {f"generator.{key}": value for key, value in weights.items()} | {"step_counter": torch.zeros(1)}
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, tmp_path / "mmagic.pth")
    found = read_checkpoint(tmp_path / "mmagic.pth")
    net = networks.build(found.arch, found.config).eval()
    net.load_state_dict(found.weights, strict=True)
    out, expected = net(golden.clip(case)), golden.tensors("bvpp_x1_t2", "output")["br"]
    assert golden.difference(out[..., -16:, -16:], expected) <= case["tolerance"]["max_abs"]


def test_averaged_weights_come_before_the_others(tmp_path):
    state = networks.build("swinir", SWINIR).state_dict()
    averaged = {key: value + 1 for key, value in state.items()}
    torch.save({"params": state, "params_ema": averaged}, tmp_path / "both.pth")
    found = read_checkpoint(tmp_path / "both.pth")
    assert torch.equal(found.weights["conv_first.bias"], averaged["conv_first.bias"])


def test_the_peak_network_takes_the_weights_of_basicvsrpp(tmp_path):
    state = networks.build("basicvsrpp", BASICVSRPP).state_dict()
    save_file(state, tmp_path / "public.safetensors")
    found = import_checkpoint(
        tmp_path / "public.safetensors", tmp_path / "ours.safetensors", "pqf_basicvsrpp"
    )
    assert found.arch == read_header(tmp_path / "ours.safetensors").arch == "pqf_basicvsrpp"
    with pytest.raises(VqeError, match="is basicvsrpp, not swinir"):
        read_checkpoint(tmp_path / "public.safetensors", "swinir")


class Unwelcome:
    """An object of the kind that a pickle can run code with."""


def broken(kind: str, path: Path) -> None:
    """Write a checkpoint that must be refused."""
    state = networks.build("swinir", SWINIR).state_dict()
    if kind == "missing":
        del state["norm.bias"]
    elif kind == "no window":
        state = {key: value for key, value in state.items() if not key.startswith("conv_first")}
    elif kind == "unknown":
        state["absolute_pos_embed"] = torch.zeros(1)
    elif kind == "shape":
        state["norm.bias"] = torch.zeros(13)
    elif kind == "stranger":
        state = {"fc.weight": torch.zeros(2, 2)}
    if kind == "code":
        torch.save({"params": state, "trainer": Unwelcome()}, path)
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 4)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind != "absent":
        torch.save(state, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "norm.bias is missing"),
        ("no window", "lacks 'conv_first.weight'"),
        ("unknown", "absolute_pos_embed is unknown"),
        ("shape", r"norm.bias is \[13\] instead of \[12\]"),
        ("stranger", "no network that vqe knows"),
        ("code", "objects that vqe does not run"),
        ("noise", "cannot be read|not a readable"),
        ("empty", "cannot be read|not a readable"),
        ("list", "holds no weights"),
        ("absent", "there is no checkpoint"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(kind, message, tmp_path):
    path = tmp_path / f"{kind}.pth"
    broken(kind, path)
    with pytest.raises(VqeError, match=message) as refused:
        import_checkpoint(path, tmp_path / "ours.safetensors")
    assert str(path) in refused.value.message and refused.value.remedy
    assert [file.name for file in tmp_path.iterdir() if file != path] == []


def test_a_broken_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(b"not a header")
    with pytest.raises(VqeError, match="not a readable checkpoint"):
        read_checkpoint(path)


def test_an_existing_file_is_kept(tmp_path):
    torch.save(networks.build("swinir", SWINIR).state_dict(), tmp_path / "a.pth")
    target = tmp_path / "ours.safetensors"
    target.write_text("precious")
    with pytest.raises(VqeError, match="exists already"):
        import_checkpoint(tmp_path / "a.pth", target)
    assert target.read_text() == "precious"
    import_checkpoint(tmp_path / "a.pth", target, overwrite=True)
    assert read_header(target).arch == "swinir"
