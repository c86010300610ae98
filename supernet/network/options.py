"""Which options a supernet's tables have: those that exist, less what was pruned.

What a row lacks has alpha = -inf, so that a relaxation gives it the weight 0, and does not run. Pruning is kept in the
state dict, as `options.pruned_TABLE`; a supernet in which nothing was pruned has no such key.
"""
# E edges (rows of a table), O operations (columns)

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import SupernetError, unknown
from ..space.space import Space, Strengths, Table
from .mixture import HostMask

__all__ = ["Options", "absent_in"]

NEVER = float("-inf")


class Options(nn.Module):
    """The masks of a space's tables, on the host and on the device, and the defaults of decisions without alphas."""

    _device: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space, self.tables = space, space.tables
        self.register_buffer("_device", torch.empty(0), persistent=False)  # goes where the others go
        self.defaults = tuple(space.searchable)
        self._masks: dict[str, HostMask] = {name: (default,) for name, default in space.searchable.items()}
        for name, default in space.searchable.items():  # on the device, and no part of the state
            one_hot = torch.tensor([default], dtype=torch.float32)
            self.register_buffer(f"default_{name}", one_hot, persistent=False)
        for table in self.tables:
            self._set(table, table.mask)

    def _set(self, table: Table, mask: HostMask) -> None:
        self._masks[table.name] = mask
        absent = None if all(map(all, mask)) else ~torch.tensor(mask, device=self._device.device)
        self.register_buffer(f"absent_{table.name}", absent, persistent=False)

    def masks(self) -> dict[str, HostMask]:
        """The mask [E][O] of each table: what may run; of a decision without alphas its default."""
        return dict(self._masks)

    def default_p(self) -> dict[str, Tensor]:
        """The p [1, O] of each decision without alphas: all on its default."""
        return {name: self.get_buffer(f"default_{name}") for name in self.defaults}

    def masked(self, alphas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The alphas [E, O] of each table, -inf where a row lacks the option."""
        return {table.name: self._masked(table.name, alphas[table.name]) for table in self.tables}

    def absent(self, name: str) -> Tensor | None:
        """[E, O] on the device: True where a row of table `name` lacks the option; None where none lacks any."""
        absent: Tensor | None = getattr(self, f"absent_{name}")
        return absent

    def _masked(self, name: str, alpha: Tensor) -> Tensor:
        absent = self.absent(name)
        return alpha if absent is None else alpha.masked_fill(absent, NEVER)

    def ranked(self, strengths: Strengths) -> Strengths:
        """Strengths [E][O] in which what was pruned comes last in its row, also behind weights of 0."""
        rows = {table.name: zip(strengths[table.name], self._masks[table.name], strict=True) for table in self.tables}
        return {
            name: [[value if runs else NEVER for value, runs in zip(row, mask, strict=True)] for row, mask in pairs]
            for name, pairs in rows.items()
        }

    def prune(self, masks: Mapping[str, HostMask]) -> None:
        """Take away what is False in the masks [E][O] of some tables, for good.

        Raises SupernetError for masks that do not fit, that leave a row without any option, or that leave no point of
        the space.
        """
        left = {table.name: _both(table, self._masks[table.name], masks) for table in self.tables}
        if strange := [name for name in masks if name not in left]:
            raise SupernetError(unknown("table with alphas in prune:", strange[0], left))
        point = self.space.project(
            {name: [[0.0 if on else NEVER for on in row] for row in left[name]] for name in left}
        )
        for name, places in self.space.active(point).items():
            if name in left and not all(left[name][row][column] for row, column in places):
                raise SupernetError(
                    f"prune: table {name!r} would have too few options left for any architecture of {self.space.name!r}"
                )
        for table in self.tables:
            if left[table.name] != self._masks[table.name]:
                self._prune(table, left[table.name])

    def _prune(self, table: Table, mask: HostMask) -> None:
        self._set(table, mask)
        pruned = torch.tensor(table.mask) & ~torch.tensor(mask)
        self.register_buffer(f"pruned_{table.name}", pruned.to(self._device.device))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object, **kwargs: object
    ) -> None:
        """What the state says was pruned, and nothing else, is pruned afterwards."""
        for table in self.tables:
            pruned = state_dict.get(f"{prefix}pruned_{table.name}")
            if pruned is not None and tuple(pruned.shape) == table.shape:  # else torch says what does not fit
                self._prune(table, _without(table.mask, pruned))
            elif f"pruned_{table.name}" in self._buffers:
                del self._buffers[f"pruned_{table.name}"]
                self._set(table, table.mask)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def absent_in(state: Mapping[str, Tensor], table: Table) -> Tensor:
    """[E, O] on the host: True where, in a supernet's state dict, a row lacks the option or it was pruned."""
    absent = ~torch.tensor(table.mask)
    pruned = state.get(f"options.pruned_{table.name}")
    return absent if pruned is None else absent | pruned.cpu()


def _without(mask: HostMask, pruned: Tensor) -> HostMask:
    return tuple(
        tuple(runs and not gone for runs, gone in zip(row, gone_row, strict=True))
        for row, gone_row in zip(mask, pruned.tolist(), strict=True)
    )


def _both(table: Table, present: HostMask, masks: Mapping[str, HostMask]) -> HostMask:
    """What of `present` is left under the mask of this table, where there is one."""
    mask = masks.get(table.name, present)
    if (len(mask), *{len(row) for row in mask}) != table.shape:
        raise SupernetError(f"prune: the mask of table {table.name!r} must have the shape {table.shape}")
    left = tuple(
        tuple(bool(one and other) for one, other in zip(*rows, strict=True)) for rows in zip(present, mask, strict=True)
    )
    for name, row in zip(table.rows, left, strict=True):
        if not any(row):
            raise SupernetError(f"prune: row {name!r} of table {table.name!r} would be left without any option")
    return left
