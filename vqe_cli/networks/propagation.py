"""The order in which features, or pictures, travel through a clip: from which frames each frame takes.

Two small rules say which frame is the second-order neighbour at each visit, and `plan_visits` where the flows
to both neighbours lead. Shared by all networks that propagate: BasicVSR++, MotionFusion, CRDS.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vqe_cli.networks.flow import compose_flow

# From the peaks (N, T) in the order of the visits: at which visits (N, T) the second-order neighbour
# becomes the frame visited two before, instead of staying what it was at the visit before.
NeighbourRule = Callable[[Tensor], Tensor]


def second_order(peaks: Tensor) -> Tensor:
    """The rule of BasicVSR++: always the frame visited two before."""
    return torch.ones_like(peaks)


def nearest_peak(peaks: Tensor) -> Tensor:
    """The latest peak visited two or more before; without any, as `second_order` (SPEC section 4)."""
    renew = torch.ones_like(peaks)
    visited = peaks[:, :-2]
    renew[:, 2:] = visited | (visited.cumsum(dim=1) == 0)
    return renew


def choose(renew: Tensor | bool, new: Tensor, old: Tensor) -> Tensor:
    """`new` (N, C, H, W) for the clips where renew (N,) says so, else `old`; one bool decides for all."""
    if isinstance(renew, bool):
        return new if renew else old
    return torch.where(renew.view(-1, 1, 1, 1), new, old)


class Visit(NamedTuple):
    """What alignment needs to know at one visit; flows (N, 2, H, W) lead from the current frame.

    flow_1: to the frame visited before. flow_2: to the second-order neighbour, zero where there is none.
    renew: (N,) whether that neighbour is the frame visited two before, or one bool where all clips agree;
    None at the second visit, which has no second-order neighbour.
    """

    flow_1: Tensor
    flow_2: Tensor
    renew: Tensor | bool | None


def plan_visits(flows: Tensor, renew: Tensor) -> list[Visit]:
    """The visits after the first, from flows (N, T-1, 2, H, W) to the frame visited before and renew (N, T).

    Both in the order of the visits. The flow to the second-order neighbour is carried along the chain: each
    visit composes its own flow with one known at the visit before.
    """
    visits: list[Visit] = []
    decisions = [column.unique().tolist() for column in renew.cpu().unbind(1)]
    for index, flow_1 in enumerate(flows.unbind(1), start=1):
        if not visits:
            visits.append(Visit(flow_1, torch.zeros_like(flow_1), None))
            continue
        decision = decisions[index]
        decided = bool(decision[0]) if len(decision) == 1 else renew[:, index].to(flows.device)
        chain = choose(decided, visits[-1].flow_1, visits[-1].flow_2)
        visits.append(Visit(flow_1, compose_flow(flow_1, chain), decided))
    return visits
