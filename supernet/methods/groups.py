"""The weights of single options, over all places that read one table."""

from torch import Tensor

from ..network import Supernet

__all__ = ["groups_of"]


def groups_of(net: Supernet) -> dict[tuple[str, int, int], list[Tensor]]:
    """The weights, of any shapes, of each (table, row, column) that has some; each once, of all cells of a kind."""
    groups: dict[tuple[str, int, int], list[Tensor]] = {}
    for table in net.space.tables:
        sites = [number for number, site in enumerate(net.sites) if site == table.name]
        for row in range(table.shape[0]):
            for column in range(table.shape[1]):
                if not table.mask[row][column]:
                    continue
                members = {id(w): w for site in sites for w in net.parameters_of(site, row, column)}
                if members:
                    groups[table.name, row, column] = list(members.values())
    return groups
