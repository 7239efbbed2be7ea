import golden_data as golden
import pytest
import torch
import torch.nn.functional as F

from vqe_cli import networks
from vqe_cli.networks.windows import relative_position_index, shift_masks, window_merge, window_partition

CASES = [
    "swinir_dn_1conv",
    "swinir_dn_3conv",
    "swinir_jpeg_w7_gray",
    "swinir_nearest_x4",
    "swinir_ps_x2",
    "swinir_ps_x4",
    "swinir_psd_x2",
]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_swinir_equals_the_reference(name, fused):
    case = golden.description(name)
    net = networks.build("swinir", case["config"] | {"fused_attention": fused})
    net.load_state_dict(golden.weights([name]), strict=True)
    given, expected = golden.tensors(name, "input"), golden.tensors(name, "output")
    assert case["cases"]
    for size in case["cases"]:
        out = net.eval()(golden.picture(given[f"{size}.x_u8"]))
        assert golden.difference(out, expected[f"{size}.y"]) <= case["tolerance"]["max_abs"], size


@torch.inference_mode()
def test_folded_swinir_is_the_plain_one_on_the_folded_picture():
    torch.manual_seed(0)
    config = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4}
    plain = networks.build("swinir", {**config, "in_chans": 12}).eval()
    torch.nn.init.normal_(plain.conv_last.weight)
    folded = networks.build("swinir", {**config, "unshuffle": 2}).eval()
    folded.load_state_dict(plain.state_dict(), strict=True)
    x = torch.rand(1, 3, 16, 24)
    expected = F.pixel_shuffle(plain(F.pixel_unshuffle(x - folded.mean, 2)), 2) + folded.mean
    assert (expected - x).abs().max() > 0.01
    torch.testing.assert_close(folded(x), expected)
    assert folded(x[..., :13, :17]).shape == (1, 3, 13, 17)


def test_windows_come_apart_and_together():
    x = torch.arange(2 * 6 * 9 * 2).view(2, 6, 9, 2)
    windows = window_partition(x, 3)
    assert windows.shape == (2, 2, 3, 9, 2)
    assert torch.equal(windows[1, 1, 2].view(3, 3, 2), x[1, 3:6, 6:9])
    assert torch.equal(window_merge(windows, 3), x)


def test_relative_positions_number_distances():
    index = relative_position_index(3)
    # The same distance has the same number: pixels 0 -> 4 and 4 -> 8 both go one down and one right.
    assert index[0, 4] == index[4, 8] != index[4, 0]
    assert index.unique().numel() == (2 * 3 - 1) ** 2


def test_shift_masks_part_what_the_shift_brought_together():
    # A picture whose pixels carry the number of the region they come from: a pixel must see its own region
    # alone.
    window, shift, size = 4, 2, 12
    row = torch.arange(size) + shift
    wrapped = (row >= size).long()
    regions = (2 * wrapped[:, None] + wrapped[None, :]).view(1, size, size, 1)
    windows = window_partition(regions, window)[0, ..., 0]
    masks = shift_masks(window, shift)
    for i in range(3):
        for j in range(3):
            region = windows[i, j]
            allowed = masks[int(i == 2), int(j == 2)] == 0
            assert torch.equal(allowed, region[:, None] == region[None, :])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"depths": [2], "num_heads": [7], "embed_dim": 60}, "must divide 60"),
        ({"upscale": 2}, "needs an upsampler"),
        ({"upscale": 2, "upsampler": "nearest+conv"}, "nearest"),
        ({"upscale": 5, "upsampler": "pixelshuffle"}, "not 5"),
        ({"resi_connection": "2conv"}, "2conv"),
        ({"upscale": 2, "upsampler": "pixelshuffle", "unshuffle": 2}, "keep their size"),
    ],
)
def test_swinir_refuses_what_cannot_be(config, message):
    with pytest.raises(ValueError, match=message):
        networks.build("swinir", config)
