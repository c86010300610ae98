"""What TensorBoard shows of a search: cells and heat maps of cell spaces, one tree of all single rows for others."""

from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from supernet.network import Supernet
from supernet.report.tensorboard import show_supernet
from supernet.space import Space, get_space
from supernet.space.choice import Choice


class Net(nn.Module):
    """Thirty decisions, each a table of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Choice({"a": partial(nn.Conv2d, 2, 2, 1), "b": partial(nn.Conv2d, 2, 2, 3, padding=1)}) for _ in range(30)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x.mean((2, 3))


class Shown:
    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    def figure(self, step: int, tag: str, figure: Figure) -> None:
        assert step == 7 and tag not in self.figures
        self.figures[tag] = figure


def shown(net: Supernet) -> dict[str, Figure]:
    board = Shown()
    show_supernet(board, 7, net, net.genotype())
    return board.figures


def test_cells() -> None:
    figures = shown(Supernet(get_space("darts"), channels=2, layers=2, num_classes=2, seed=0))
    assert list(figures) == ["cell/normal", "cell/reduce", "alpha/normal", "alpha/reduce"]


def test_many_single_rows_are_one_figure() -> None:
    net = Supernet(Space(Net), seed=0)
    before = torch.get_rng_state()
    figures = shown(net)
    assert list(figures) == ["genotype", "alpha"]
    assert torch.equal(torch.get_rng_state(), before)
    for figure in figures.values():
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert {f"layers/{i}" for i in range(30)} <= set(texts)
    first = net.strengths()["layers/0"][0]
    assert {f"a  {first[0]:.2f}", f"b  {first[1]:.2f}"} <= {t.get_text() for t in figures["alpha"].axes[0].texts}
