"""What holds for every space of the zoo, and is held for a new one as soon as it is registered."""
# E edges, O operations

import random

import pytest
import torch
from torch import Tensor

from supernet import Supernet, get_space
from supernet.network.entropy import entropies
from supernet.space import SPACES
from supernet.space.choice_base import Undecided
from supernet.space.layers import Elastic
from tests.support.covering import sampled
from tests.support.zoo_small import SIZES


def supernet(name: str) -> Supernet:
    args, sizes = SIZES.get(name, ({}, {}))
    return Supernet(get_space(name, **args), seed=0, num_classes=5, **sizes).double()


def inputs(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if name == "darts_rnn":
        return torch.randint(5, (2, 4), generator=generator)
    return torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SPACES)
def test_gradients_reach_every_option_of_every_trainable_decision(name: str) -> None:
    """And none comes to options that a row does not have."""
    net = supernet(name)
    with torch.no_grad():
        for alpha in net.alphas():
            alpha.normal_(generator=torch.Generator().manual_seed(2))
    y = net(inputs(name))
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)).sum().backward()
    for table in net.space.tables:
        gradient = net.alpha[table.name].grad
        assert gradient is not None, table.name
        exists = torch.tensor(table.mask)
        assert (gradient[~exists] == 0).all(), table.name
        several = exists.sum(-1) > 1  # a single option has the weight 1, whatever its alpha
        assert (gradient[exists & several[:, None]] != 0).all(), table.name


@pytest.mark.parametrize("name", SPACES)
def test_a_decided_network_is_the_supernet_with_that_genotype(name: str) -> None:
    net, rng, x = supernet(name), random.Random(0), inputs(name)
    for _ in range(2):
        genotype = net.space.sample(rng)
        plain, _ = net.discretize(genotype)
        net.activate(genotype)
        assert not any(isinstance(module, Undecided | Elastic) for module in plain.modules())
        torch.manual_seed(0)  # for noise
        here = net.eval()(x)
        torch.manual_seed(0)
        assert (here - plain.eval()(x)).abs().max() <= 1e-9
        net.deactivate()


@pytest.mark.parametrize("name", sampled(SPACES, 3))
def test_weights_read_from_a_file_are_the_same_network(name: str) -> None:
    """One state dict, also between networks that drew other weights; nothing else is a part of the state."""
    net, other = supernet(name), supernet(name)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1)
    other.load_state_dict(net.state_dict())
    torch.manual_seed(0)
    here = net.eval()(inputs(name))
    torch.manual_seed(0)
    assert torch.equal(here, other.eval()(inputs(name)))
    whole, each = entropies(net.space, net.mixing())
    assert whole > 0 and each.keys() == net.alpha.keys()
