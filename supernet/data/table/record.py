"""The record of a table: the cells that count, and the files that they name, as an image folder is recorded.

Of a test split of files only names and sizes are read. Needs no torch.
"""

# N rows

import hashlib
import os
from collections import Counter

from ...config import DataConfig
from ..digests.digest import Content, Record
from ..digests.sources import FIRST, MOST_READ, MOST_SIZES, RECORDS, root_of, spread
from .columns import columns_of, parts_of
from .named_files import files_of
from .rows import read_table

__all__ = ["record"]

MOST_NAMES = 1000  # labels that are counted one by one; of more, as of numbers, only their rows


@RECORDS.register("csv")
def record(config: DataConfig) -> Record:
    """By split; raises SupernetError where the table, or a file that it names, is not as it must be."""
    root, table = root_of(config), read_table(config)
    columns = columns_of(table, config.kwargs)
    files = {"": files_of(table, columns.name, root, once=True)}
    if columns.mask is not None:
        files["mask"] = files_of(table, columns.mask, root, once=False)
    targets = [table.column(name) for name in columns.targets]
    contents = {}
    for part, numbers in parts_of(table, columns.split).items():
        rows = numbers.tolist()
        digest = hashlib.sha256(repr((columns.targets, columns.mask)).encode())
        sized, opened = spread(len(rows), MOST_SIZES), spread(len(rows), MOST_READ if part != "test" else 0)
        for place, row in enumerate(rows):
            cells = [os.path.relpath(paths[row], root) for paths in files.values()] + [cells[row] for cells in targets]
            digest.update(repr(cells).encode(errors="surrogateescape"))
            for paths in files.values():
                if place in sized:
                    digest.update(f"{os.path.getsize(paths[row])}\0".encode())
                if place in opened:
                    with open(paths[row], "rb") as file:
                        digest.update(file.read(FIRST))
        labels = Counter(targets[0][row] for row in rows) if len(targets) == 1 else {}
        counts = dict(sorted(labels.items())) if 0 < len(labels) <= MOST_NAMES else {"all": len(rows)}
        contents[part] = Content(digest.hexdigest()[:16], counts)
    return contents
