"""Muon: momentum whose update of each weight matrix is orthogonalised, so that every direction learns at one speed.

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), for the method and the
coefficients; Liu et al., "Muon is Scalable for LLM Training" (2025), for the scale of the update, which lets matrices
of every shape, and Adam, share one learning rate and weight decay.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.99)
ADAM_EPSILON = 1e-8
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5
NEWTON_SCHULZ_STEPS = 5
ADAM_UPDATE_RMS = 0.2  # root mean square of a typical update by Adam, in learning rates


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for convolutions, viewed as (outputs, inputs * K * K) matrices; Adam for the rest.

    Args:
        parameters: the network's parameters. Those of fewer than two dimensions, such as biases, are updated by Adam.
        lr: learning rate of both.
        weight_decay: decoupled weight decay of the convolutions.
        arithmetic: data type of the orthogonalisation, for which 16 bits are enough.
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
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim < 2:
                    self._step_bias(parameter, group["lr"])
                else:
                    by_shape[parameter.shape].append(parameter)
            for convolutions in by_shape.values():  # in batches: most matrices are too small for a call of their own
                self._step_convolutions(convolutions, group["lr"], group["weight_decay"])

    def _step_convolutions(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        momenta = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            gradient = parameter.grad
            assert gradient is not None
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            momenta.append(gradient.lerp(momentum, MOMENTUM).flatten(1))  # Nesterov
        updates = orthogonalize(torch.stack(momenta).to(self._arithmetic)).float()
        rate = lr * ADAM_UPDATE_RMS * max(updates.shape[1:]) ** 0.5
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
        mean_correction, square_correction = (1 - beta ** state["step"].item() for beta in ADAM_BETAS)
        parameter.addcdiv_(mean, (square / square_correction).sqrt() + ADAM_EPSILON, value=-lr / mean_correction)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest matrices whose singular values are all close to one, by Newton-Schulz iteration.

    Args:
        matrices: (N, rows, columns), any range.

    Returns:
        The same shape, with singular values between about 0.7 and 1.2.
    """
    first, third, fifth = NEWTON_SCHULZ_COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=third, alpha=fifth)
        x = torch.baddbmm(x, polynomial, x, beta=first)
    return x.mT if is_tall else x
