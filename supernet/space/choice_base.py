"""What choices between modules and choices between values have in common: names, marks, and the weights they are given.

Undecided, a choice is handed mixing weights p [O] and a mask by the network that runs; its mark says who decides:

    trainable    has alphas
    searchable   a decision without alphas; networks that nothing activates take its default
    fixed        no decision at all: always its default
"""
# O options

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from ..errors import SupernetError, unknown
from .arithmetic import Arithmetic, Plain

__all__ = ["CHOICE_MARKS", "ChoiceMark", "Undecided"]

ChoiceMark = Literal["trainable", "searchable", "fixed"]
CHOICE_MARKS: tuple[ChoiceMark, ...] = get_args(ChoiceMark)


class Undecided(Arithmetic, nn.Module):
    """A decision among `names`, of which `k` are taken; `share` names it where it stands in several places."""

    def __init__(
        self, names: Sequence[str], *, share: str | None, k: int, mark: ChoiceMark, default: Plain | None
    ) -> None:
        super().__init__()
        if mark not in CHOICE_MARKS:
            raise SupernetError(unknown("mark of a Choice", mark, CHOICE_MARKS))
        if default is not None and default not in names:
            raise SupernetError(unknown("default of a Choice", default, names))
        if share is not None and (not isinstance(share, str) or not share):
            raise SupernetError(f"Choice: share={share!r} must be a non-empty string or None")
        if k > 1 and mark != "trainable":
            raise SupernetError(f"Choice: mark={mark!r} takes one default option, so k={k} must be 1")
        self.names, self.share, self.k, self.mark = tuple(names), share, k, mark
        self.default = self.names.index(default) if default is not None else 0
        self._mixing: tuple[Tensor | Sequence[None], tuple[bool, ...]] | None = None

    def extra_repr(self) -> str:
        settings = {"k": self.k, "share": self.share, "mark": self.mark}
        usual = {"k": 1, "share": None, "mark": "trainable"}
        return ", ".join(f"{key}={value!r}" for key, value in settings.items() if value != usual[key])

    def mix(self, p: Tensor | Sequence[None] | None, mask: Sequence[bool] | Tensor = ()) -> None:
        """Set the mixing weights `p` of shape [O] and which options run; None leaves the choice undecided.

        A list of None, one an option, is weights of 1 that save the products.
        A mask [O] that is a tensor stays where it is: all options run, with the weights p * mask.
        """
        if isinstance(p, Tensor) and isinstance(mask, Tensor):
            p, mask = p * mask, (True,) * len(self.names)
        self._mixing = None if p is None else (p, tuple(mask))

    def running(self) -> list[tuple[int, Tensor | None]]:
        """(option, scalar weight) of those that run; a fixed choice runs its default with the weight None, which is 1.

        Raises SupernetError where no weights were set, and where no option runs.
        """
        if self.mark == "fixed":
            return [(self.default, None)]
        if self._mixing is None:
            raise SupernetError(
                "this network has undecided choices: run it as Supernet(Space(Net)), or take the plain module that "
                "Supernet.discretize() returns"
            )
        p, mask = self._mixing
        running: list[tuple[int, Tensor | None]] = [(i, p[i]) for i, runs in enumerate(mask) if runs]
        if not running:
            raise SupernetError(f"no option runs of {list(self.names)}")
        return running
