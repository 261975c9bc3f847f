import pytest
import torch
import torch.nn.functional as F

from denoise_cli.nets.malleconv import MalleConv, Pool, cell_side

CELLS: dict[Pool, int] = {0: 2, 2: 4, 4: 8, 8: 16}
SIZES = [(1, 1), (1, 19), (7, 5), (16, 16), (17, 33), (31, 8)]

every_pool = pytest.mark.parametrize("pool", CELLS)
every_kernel = pytest.mark.parametrize("kernel", [1, 3])
every_size = pytest.mark.parametrize(("H", "W"), SIZES)


@torch.no_grad()
def perturbed(kernel: int, pool: Pool) -> MalleConv:
    """A layer like one after some training, in float64."""
    layer = MalleConv(4, 8, kernel, pool).double()
    for parameter in layer.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return layer


@every_size
@every_pool
def test_untrained_it_changes_nothing(pool: Pool, H: int, W: int) -> None:
    features = torch.randn(2, 4, H, W)
    assert torch.equal(MalleConv(4, 8, 1, pool)(features), features)


@every_pool
def test_a_cell_is_twice_as_wide_as_the_average_pool(pool: Pool) -> None:
    assert cell_side(pool) == CELLS[pool]
    grid = MalleConv(4, 8, 3, pool).predictor(torch.zeros(1, 4, 32, 48))
    assert grid.shape == (1, 4 * (9 + 1), 32 // CELLS[pool], 48 // CELLS[pool])


@every_size
@every_kernel
@every_pool
def test_features_that_end_inside_a_cell_are_treated_as_if_they_went_on_to_its_end(
    pool: Pool, kernel: int, H: int, W: int
) -> None:
    layer, features = perturbed(kernel, pool), torch.randn(2, 4, H, W, dtype=torch.float64)
    continued = F.pad(features, [0, -W % CELLS[pool], 0, -H % CELLS[pool]], mode="replicate")
    torch.testing.assert_close(layer(features), layer(continued)[..., :H, :W])


@every_size
@every_kernel
@every_pool
def test_flat_features_stay_flat_and_are_the_same_at_every_size(pool: Pool, kernel: int, H: int, W: int) -> None:
    layer, colour = perturbed(kernel, pool), torch.randn(1, 4, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(layer(colour.expand(-1, -1, H, W)), layer(colour).expand(-1, -1, H, W))


@every_kernel
@every_pool
def test_a_gradient_reaches_every_parameter(pool: Pool, kernel: int) -> None:
    layer = perturbed(kernel, pool)
    layer(torch.randn(2, 4, 33, 50, dtype=torch.float64)).square().mean().backward()
    assert [name for name, parameter in layer.named_parameters() if not parameter.grad.any()] == []


@torch.no_grad()
def test_kernels_are_bounded_however_large_the_prediction() -> None:
    layer, features = perturbed(1, 4), torch.randn(1, 4, 16, 16, dtype=torch.float64)
    for parameter in layer.parameters():
        parameter.mul_(1000)
    assert ((layer(features) - features).abs() <= features.abs() + 1 + 1e-9).all()
