import pytest
import torch

from vqe_cli.networks.flow import compose_flow
from vqe_cli.networks.propagation import nearest_peak, plan_visits, second_order


def second_neighbour(peaks: list[bool], visit: int) -> int:
    """SPEC section 4, word by word: the latest peak at distance two or more, else the frame two before."""
    return max((frame for frame in range(visit - 1) if peaks[frame]), default=visit - 2)


def followed(renew: torch.Tensor, clip: int) -> list[int]:
    """The second-order neighbours at the visits from 2 on that a rule's decisions lead to."""
    found, current = [], -1
    for visit in range(2, renew.shape[1]):
        current = visit - 2 if renew[clip, visit] else current
        found.append(current)
    return found


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_every_pattern_of_peaks_has_the_neighbours_of_the_rule(frames):
    codes = torch.arange(2**frames)
    peaks = (codes[:, None] >> torch.arange(frames)) & 1 == 1
    renew = nearest_peak(peaks)
    for clip, pattern in enumerate(peaks.tolist()):
        assert followed(renew, clip) == [second_neighbour(pattern, visit) for visit in range(2, frames)]


def test_second_order_is_the_frame_two_before():
    assert followed(second_order(torch.ones(1, 5, dtype=torch.bool)), 0) == [0, 1, 2]


def test_the_carried_flow_is_the_composed_chain():
    generator = torch.Generator().manual_seed(3)
    flows = torch.randn(2, 6, 2, 12, 14, generator=generator, dtype=torch.float64)
    peaks = torch.tensor([[1, 0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0]]).bool()
    visits = plan_visits(flows, nearest_peak(peaks))
    assert len(visits) == 6 and not visits[0].flow_2.any()
    for visit in range(2, 7):
        for clip, pattern in enumerate(peaks.tolist()):
            neighbour = second_neighbour(pattern, visit)
            chain = flows[clip : clip + 1, neighbour]
            for step in range(neighbour + 1, visit):
                chain = compose_flow(flows[clip : clip + 1, step], chain)
            assert torch.allclose(visits[visit - 1].flow_2[clip : clip + 1], chain, atol=1e-12)
