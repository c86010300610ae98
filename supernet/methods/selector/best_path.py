"""The best of many sampled architectures, each measured with the shared weights.

SPOS (Guo et al., arXiv:1904.00420, section 3.4)        statistics of each path taken anew, then the validation part
random search with weight sharing (Li and Talwalkar, arXiv:1902.07638)
                                                         1,000 samples on 10 batches, the best 10 on the whole part

    genotypes ~ U(space);   the `finalists` that are best on `batches` batches;   the best of these on all batches

Running statistics of shared weights belong to no path, so they are set to the mean over `recalibrate` batches of the
training part before a path is measured, and put back afterwards; 0 leaves them out, as the code of the second paper
does. The evolution of SPOS belongs to the searchers without gradients.
"""
# D numbers of a genotype's code

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...counter import derive
from ...errors import SupernetError
from ...network.freezing import batch_norms
from ...network.recalibrate import recalibrate
from ...space import Genotype
from ...tasks.compare import rank
from ..look import Look
from ..parts import SELECTORS, Selector
from ..verdict import Done, Verdict

if TYPE_CHECKING:
    from ...network import Supernet

__all__ = ["BestPath"]


@SELECTORS.register("best_path")
class BestPath(Selector):
    """One round. `samples` architectures are drawn, doubled ones once; dead ones do not count.

    Before that round the genotype is the projection of the alphas, which have not learned.
    """

    code: Tensor
    traits = frozenset({"selects in rounds", "measures removals"})

    def __init__(self, samples: int = 1000, batches: int = 10, finalists: int = 10, recalibrate: int = 0) -> None:
        super().__init__()
        for name, value in (("samples", samples), ("batches", batches), ("finalists", finalists)):
            if value < 1:
                raise SupernetError(f"best_path: {name}={value} must be 1 or more")
        if recalibrate < 0:
            raise SupernetError(f"best_path: recalibrate={recalibrate} must be 0 or more")
        self.samples, self.batches, self.finalists, self.recalibrate = samples, batches, finalists, recalibrate
        self.seed = 0

    def bind(self, net: "Supernet", seed: int) -> None:
        """Makes room for the code [D] of the result, -1 until there is one."""
        self.seed = seed
        length = len(net.space.encode(net.genotype()))
        self.register_buffer("code", torch.full((length,), -1, dtype=torch.int64))

    def present(self, net: "Supernet") -> Genotype:
        code = self.code.tolist()
        return net.genotype() if code and code[0] < 0 else net.space.decode(code)

    def round(self, look: Look) -> Sequence[Verdict]:
        """Draws, measures and keeps the best; the search is done."""
        sampled = self.sample(look)
        train = list(islice((batch[0] for batch in look.loaders("train")), self.recalibrate))
        few = list(islice(look.loaders("val"), self.batches))
        ranked = sorted(sampled, key=lambda genotype: -self.score(look, genotype, train, few))
        best = max(ranked[: self.finalists], key=lambda genotype: self.score(look, genotype, train, None))
        self.code.copy_(torch.tensor(look.net.space.encode(best)))
        return (Done(),)

    def sample(self, look: Look) -> list[Genotype]:
        """The architectures, in the order in which they were drawn."""
        rng, space = random.Random(derive(self.seed, "best_path")), look.net.space
        drawn = {genotype.hash: genotype for genotype in (space.sample(rng) for _ in range(self.samples))}
        alive = [genotype for genotype in drawn.values() if not space.dead(genotype)]
        return alive or list(drawn.values())

    def score(
        self, look: Look, genotype: Genotype, train: Sequence[Tensor], val: Sequence[Sequence[Tensor]] | None
    ) -> float:
        """The metric that selects of one path on the batches `val` (None: the whole part); more is better.

        `train` has the inputs [B, ...] by which statistics are taken anew; none where it is empty.
        """
        look.net.activate(genotype)
        try:
            with _statistics_put_back(look.net):
                if train:
                    recalibrate(look.net, train)
                metrics = look.measure(None, val)
        finally:
            look.net.deactivate()
        return rank(metrics[look.selects.removeprefix("val/")], look.maximise)


@contextmanager
def _statistics_put_back(net: "Supernet") -> Iterator[None]:
    """Afterwards the running statistics are those of before, to the bit."""
    buffers = [buffer for norm in batch_norms(net) for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
