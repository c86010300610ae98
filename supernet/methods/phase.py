"""A phase of a search: some epochs with one network, one set of candidates and one choice of what learns.

warm-up               Phase(15, learns={"weights"}), then Phase(35)
a deeper network      Phase(25, network={"layers": 11}, keep=5, starts_from="fresh")
of wider operations   Phase(25, network={"partial": 4}, keep=4, starts_from="widen")
a child of a split    Phase(10, masks={"normal": ...}, starts_from="parent")
a final selection     Phase(81, learns={"weights", "alphas", "selection"}, settings={"weights.lr": 0.0025})
"""
# E edges, O operations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ..errors import SupernetError, unknown
from ..network.mixture import HostMask

__all__ = ["BOTH", "LEARNERS", "Phase", "phase_from"]

StartsFrom: TypeAlias = Literal["fresh", "inherit", "widen", "parent"]
LEARNERS = ("weights", "alphas", "selection")
BOTH = frozenset({"weights", "alphas"})


@dataclass(frozen=True)
class Phase:
    """Some epochs of a search. Raises SupernetError for values that no phase can have.

    `network` has arguments of the network that differ from the configuration's (layers=11, partial=4). `keep` is how
    many operations of each row stay, the strongest of the phase before. `masks` [E][O] a table says it row by row.
    `learns` names what learns: "weights", "alphas", and "selection" for the rounds of the method's selector.
    `settings` are those of the optimisers that differ from the configuration's; with any, they begin anew, and the rate
    is annealed over the phase.
    `starts_from`: "inherit" goes on, with the same objects where the network stays the same; "widen" goes on in a wider
    network, whose new channels are copies of random ones, momenta among them; "fresh" draws weights and alphas anew;
    "parent" starts from the state at the moment when the search branched.
    """

    epochs: int
    network: Mapping[str, object] = field(default_factory=dict)
    keep: int | None = None
    masks: Mapping[str, HostMask] = field(default_factory=dict)
    learns: frozenset[str] = BOTH
    starts_from: StartsFrom = "inherit"
    settings: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SupernetError(f"a phase of {self.epochs} epochs: it must have 1 or more")
        if self.keep is not None and self.keep < 1:
            raise SupernetError(f"a phase keeps {self.keep} operations a row: it must keep 1 or more")
        for name in self.learns:
            if name not in LEARNERS:
                raise SupernetError(unknown("learner of a phase", name, LEARNERS))
        if self.starts_from not in get_args(StartsFrom):
            raise SupernetError(unknown("start of a phase", self.starts_from, get_args(StartsFrom)))

    @property
    def remakes(self) -> bool:
        """Whether the network is made anew for this phase."""
        return bool(self.network) or self.starts_from == "widen" or self.anneals_anew

    @property
    def anneals_anew(self) -> bool:
        """Whether the rate of the weights begins anew, in place of going on along the cosine of the phases before."""
        return self.starts_from not in ("inherit", "widen") or bool(self.settings)

    def plain(self) -> dict[str, object]:
        """As plain values, for a checkpoint; `phase_from` reads them."""
        values = asdict(self)
        values["learns"] = sorted(self.learns)
        values["masks"] = {name: [list(row) for row in mask] for name, mask in self.masks.items()}
        values["network"] = dict(self.network)
        values["settings"] = dict(self.settings)
        return values


def phase_from(values: Mapping[str, Any]) -> Phase:
    """The phase of what `Phase.plain` gave."""
    masks = {name: tuple(tuple(row) for row in mask) for name, mask in values["masks"].items()}
    return Phase(**{**values, "masks": masks, "learns": frozenset(values["learns"])})
