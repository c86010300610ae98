"""What `executor=auto` is in a search: decided once, before its first step, and kept by a run that is resumed.

Another executor has other roundings, so a run stays with the one by which it began, and all ranks with that of the main
one. In networks without cells it stands for the sums of choices, each of which still takes the stock sum where that is
faster for its size (network/choice_sum.py).
"""

import logging

import torch

from ..errors import SupernetError
from ..network import Supernet, make_executor
from ..network.cells.cell import MixedCell
from ..network.executor.automatic import Auto, choose, mostly_separable
from ..network.executor.fused import Fused
from ..runs.state import State
from ..runtime.ranks import Ranks

__all__ = ["SettledExecutor"]

log = logging.getLogger(__name__)


class SettledExecutor:
    """The executor of a search whose settings leave it to `auto`; `name` is None where they do not."""

    def __init__(self, device: torch.device, dtype: torch.dtype, ranks: Ranks) -> None:
        """`dtype` is that of the states, which mixed precision changes."""
        self.ranks, self.dtype = ranks, dtype
        self.device = torch.empty(0, device=device).device  # with its number, where it has one
        self.name: str | None = None

    def settle(self, net: Supernet) -> None:
        """Decides for `net` before it runs; a later network of the same search takes what the first one took."""
        auto = net.body.automatic
        if auto is None:
            return
        cells = [module for module in net.body.modules() if isinstance(module, MixedCell)]
        hooked = any(cell.hooks is not None for cell in cells)
        dense = bool(cells) and not mostly_separable(cells[0])
        name, why = self.ranks.broadcast(choose(self.device, self.dtype, hooked, dense))
        if self.name is None:
            log.info("executor=auto takes '%s': %s", name, why)
            self.name = name
        self._take(net, auto, "torch" if hooked else self.name)

    def keep(self, net: Supernet, state: State) -> None:
        """Goes on by the executor of the run so far, whose state `state` is.

        One of before it was kept chose without a look at the candidates. Where it cannot serve on every rank, such as
        on another device, another one is taken, and said.
        """
        if self.name is None:
            return
        began = str(self.ranks.broadcast(state.get("executor") or choose(self.device, self.dtype)[0]))
        if began == self.name:
            return
        fault = self._fault(began)
        if self.ranks.any(bool(fault)):
            log.warning("the run began by executor=%s, which does not serve here (%s): it goes on by %s, with other "
                        "roundings", began, fault or "on another rank", self.name)  # fmt: skip
            return
        log.info("the run goes on by executor=%s, by which it began", began)
        self.name = began
        self._take(net, net.body.automatic, began)

    def _take(self, net: Supernet, auto: Auto | None, name: str) -> None:
        """Cells run by the executor itself; sums of choices ask `auto`, which has its answer."""
        if auto is not None and net.body.executor is None:
            auto.settle(self.device, self.dtype, name)
        else:
            net.use(name)

    def _fault(self, name: str) -> str:
        """Why the executor cannot serve on this rank; "" where it can."""
        try:
            executor = make_executor(name)
            if isinstance(executor, Fused):
                executor.check(torch.empty(1, device=self.device, dtype=self.dtype))
        except SupernetError as error:
            return str(error)
        return ""
