"""Shortcuts on a CPU give what the plain operations give."""

import pytest
import torch
import torch.nn.functional as F

from models.layers import ResidualBlocks, box_mean


@pytest.mark.parametrize("size", [(17, 23), (3, 2), (1, 9)])
def test_box_mean_is_average_pooling_without_padding(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    wanted = F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
    torch.testing.assert_close(box_mean(x, 5), wanted)


@torch.no_grad()
@pytest.mark.parametrize("resting", [True, False])
def test_layers_that_rest_can_be_left_out(resting: bool) -> None:
    torch.manual_seed(1)
    blocks = ResidualBlocks(6, 4, 2)
    conv, _, body = blocks.main
    if resting:
        conv.weight[..., [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        body[0].conv2.weight.zero_()
    x = torch.rand(2, 6, 9, 11)
    called: list[int] = []
    for index, block in enumerate(body):
        block.register_forward_hook(lambda *_, index=index: called.append(index))
    torch.testing.assert_close(blocks.without_rest()(x), blocks(x))
    assert called == [*([1] if resting else [0, 1]), 0, 1]


def test_what_is_trained_is_left_whole() -> None:
    blocks = ResidualBlocks(6, 4, 1)
    assert blocks.without_rest() is blocks
    blocks.requires_grad_(False)
    assert blocks.without_rest() is not blocks
