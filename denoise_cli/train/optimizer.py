"""Muon: momentum whose update of each weight matrix is made orthogonal, so that every direction learns at one speed.

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), for the method and the
coefficients; Liu et al., "Muon is Scalable for LLM Training" (2025), for the scale of the update, by which one learning
rate and weight decay serve matrices of every shape, and Adam beside them.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.99), 1e-8
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
ADAMS_SIZE = 0.2  # the root mean square of a typical update of Adam's, in learning rates


class Muon(torch.optim.Optimizer):
    """Orthogonal momentum for convolutions, seen as matrices (outputs, inputs * K * K); Adam for biases and numbers.

    Args:
        parameters: of the network.
        lr: learning rate of both.
        weight_decay: of the convolutions, decoupled.
        arithmetic: of the orthogonalisation, which 16 bits are enough for.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        arithmetic: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._arithmetic = arithmetic

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step along the gradients that there are."""
        for group in self.param_groups:
            alike = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim < 2:
                    self._step_bias(parameter, group["lr"])
                else:
                    alike[parameter.shape].append(parameter)
            for convolutions in alike.values():  # in batches: most matrices are too small to be worth a call each
                self._step_convolutions(convolutions, group["lr"], group["weight_decay"])

    def _step_convolutions(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        ahead = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            gradient = parameter.grad
            assert gradient is not None
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            ahead.append(gradient.lerp(momentum, MOMENTUM).flatten(1))
        updates = orthogonalize(torch.stack(ahead).to(self._arithmetic)).float()
        rate = lr * ADAMS_SIZE * max(updates.shape[1:]) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - lr * weight_decay).sub_(update.view(parameter.shape), alpha=rate)

    def _step_bias(self, parameter: nn.Parameter, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        mean = state["mean"].lerp_(gradient, 1 - ADAM_BETAS[0])
        square = state["square"].lerp_(gradient.square(), 1 - ADAM_BETAS[1])
        first, second = (1 - beta ** state["step"].item() for beta in ADAM_BETAS)
        parameter.addcdiv_(mean, (square / second).sqrt() + ADAM_EPSILON, value=-lr / first)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest matrices with all singular values near one, by Newton and Schulz's iteration.

    Args:
        matrices: (N, rows, columns), any range.

    Returns:
        The same shape; the singular values lie between about 0.7 and 1.2.
    """
    first, third, fifth = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=third, alpha=fifth)
        x = torch.baddbmm(x, polynomial, x, beta=first)
    return x.mT if tall else x
