"""Shortcuts on a CPU give what the plain operations give."""

import pytest
import torch
import torch.nn.functional as F

from vqe_cli.networks.layers import box_mean


@pytest.mark.parametrize("size", [(17, 23), (3, 2), (1, 9)])
def test_box_mean_is_average_pooling_without_padding(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    wanted = F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
    torch.testing.assert_close(box_mean(x, 5), wanted)
