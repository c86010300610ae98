"""What data held when a run began, so that a later command sees whether they are the same.

A run's name tells data apart by their name alone, and a folder may have changed since, or be another one of that name.
A record has, for each split, a digest of its content and what can be counted in it; two records that differ say in a
few words what has changed. `sources.py` makes them.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from ...errors import SupernetError, short
from ...files import JSON, plain

__all__ = ["Content", "Record", "as_json", "changes", "from_json"]

SCHEMA = 1
SHOWN = 6  # differences that are told


@dataclass(frozen=True)
class Content:
    """One split, or one file: the digest of its content, and how many of `unit` it has by class or by file."""

    digest: str
    counts: Mapping[str, int]
    unit: str = "images"


Record = Mapping[str, Content]  # by split


def as_json(record: Record) -> JSON:
    """`record` as plain values; `from_json` reads them."""
    return plain({"schema": SCHEMA, "splits": {name: asdict(content) for name, content in record.items()}})


def from_json(value: object, where: str) -> Record:
    """The record in plain values; raises SupernetError that begins with `where` for anything else."""
    splits = value.get("splits") if isinstance(value, dict) and value.get("schema") == SCHEMA else None
    if not isinstance(splits, dict):
        raise SupernetError(f"{where} is no record of data in the layout {SCHEMA}")
    return {str(name): _content(content, f"{where}: {short(str(name))}") for name, content in splits.items()}


def _content(value: object, where: str) -> Content:
    fields = value if isinstance(value, dict) else {}
    digest, counts, unit = fields.get("digest"), fields.get("counts"), fields.get("unit")
    numbers = isinstance(counts, dict) and all(type(number) is int for number in counts.values())
    if not (isinstance(digest, str) and isinstance(counts, dict) and numbers and isinstance(unit, str)):
        raise SupernetError(f"{where} has no digest and counts")
    return Content(digest, counts, unit)


def changes(old: Record, new: Record, unread: Collection[str] = ()) -> str:
    """What differs, in a few words; "" where nothing does. The splits `unread` do not count."""
    texts: list[str] = []
    for split in [*old, *(name for name in new if name not in old)]:
        if split in unread:
            continue
        before, now = old.get(split), new.get(split)
        if before is None or now is None:
            texts.append(f"{split} is {'new' if before is None else 'gone'}")
        elif before.digest != now.digest:
            told = _counted(before, now) or [
                f"other content under the same names, {sum(now.counts.values())} {now.unit}"
            ]
            texts += [f"{split}: {text}" for text in told]
    more = f", ... ({len(texts)} in all)" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def _counted(before: Content, now: Content) -> list[str]:
    """The classes, or files, that came, went, or have another number."""
    texts = []
    for name in [*before.counts, *(other for other in now.counts if other not in before.counts)]:
        one, other, shown = before.counts.get(name), now.counts.get(name), repr(short(name, 40))
        if other is None:
            texts.append(f"{shown} is gone ({one} {now.unit})")
        elif one is None:
            texts.append(f"{shown} is new ({other} {now.unit})")
        elif one != other:
            texts.append(f"{shown} has {other} {now.unit}, had {one}")
    return texts
