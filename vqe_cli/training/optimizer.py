"""AdamW or Muon, and what they train at which rate.

Muon: momentum whose matrix is made orthogonal before each step (Jordan et al. 2024, "Muon"; scaled as in Liu
et al. 2025, "Muon is Scalable for LLM Training"). torch.optim.Muon takes no convolutions.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vqe_cli.training.schema import ScheduleConfig

# Least side of what counts as a matrix, kernels (out, in) and linear layers; what is smaller goes the way of
# biases. The layers behind the QP are 32 wide: they hear one number, so few of their directions matter.
LEAST_SIDE = {4: 32, 2: 48}
# Odd polynomial that drives singular values to about 1 in a few rounds (Jordan et al. 2024).
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
ROUNDS = 5
# Root mean square of a step relative to the rate: Adam's usual one, so that both take the same rates.
STEP_SIZE = 0.2
MOMENTUM = 0.95


def orthogonal(matrices: Tensor) -> Tensor:
    """The orthogonal factors of matrices (B, R, C), nearly: singular values end between 0.7 and 1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = LINEAR * x + (CUBIC * gram + QUINTIC * gram @ gram) @ x
    return x.mT if tall else x


class Muon(AdamW):
    """Muon for convolutions, as matrices (out, in * kernel), and linear layers that are wide; else Adam.

    rate: of both. Parameter groups may carry further keys of their own.
    """

    def __init__(self, params: Iterable[dict[str, Any]], rate: float) -> None:
        super().__init__(params, lr=rate, weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients at hand; `closure` is not for this optimizer."""
        assert closure is None
        wide: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            stacks: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None and is_wide(parameter):
                    stacks.setdefault(parameter.flatten(1).shape, []).append(parameter)
                    wide.append((parameter, parameter.grad))
            for stack in stacks.values():
                self._muon(stack, group["lr"])
        for parameter, _ in wide:
            parameter.grad = None  # Adam passes over what has none
        super().step()
        for parameter, gradient in wide:
            parameter.grad = gradient

    def _muon(self, stack: list[Tensor], rate: float) -> None:
        """Step parameters whose matrices have one shape; together, which a small machine is grateful for."""
        towards = []
        for parameter in stack:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            if not state:  # of which Adam asks for a step when it is loaded
                state.update(momentum=torch.zeros_like(parameter), step=torch.zeros(()))
            state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            towards.append(gradient.lerp(state["momentum"], MOMENTUM).flatten(1))
        matrices = orthogonal(torch.stack(towards))
        size = STEP_SIZE * max(matrices.shape[1:]) ** 0.5
        for parameter, matrix in zip(stack, matrices, strict=True):
            parameter.add_(matrix.view(parameter.shape), alpha=-rate * size)


def is_wide(parameter: Tensor) -> bool:
    """Whether it is the matrix of a wide layer."""
    return min(parameter.shape[:2], default=0) >= LEAST_SIDE.get(parameter.ndim, math.inf)


def optimizer_of(network: nn.Module, schedule: ScheduleConfig) -> torch.optim.Optimizer:
    """The optimizer of a run, without weight decay."""
    groups = parameter_groups(network)
    if schedule.optimizer == "muon":
        return Muon(groups, schedule.rate)
    return torch.optim.AdamW(groups, lr=schedule.rate, weight_decay=0.0, fused=True)


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """What is trained, in groups with rates of their own (`schedule.group_rate`): the flow network, the
    encoder of CRDS, all the rest."""
    groups: dict[str, list[nn.Parameter]] = {"rest": [], "encoder": [], "flow": []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = "flow" if "spynet." in name else "encoder" if name.startswith("encoder.") else "rest"
            groups[part].append(parameter)
    return [{"params": params, "part": part} for part, params in groups.items() if params]
