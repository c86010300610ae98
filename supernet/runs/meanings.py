"""What the numbers mean that are printed at the end of a run, each in a few words beside its number."""

from collections import Counter
from collections.abc import Sequence

__all__ = ["explained", "margin_rows", "undecided"]

SHOWN = ("val/", "test/", "genotype/skip_share", "alpha/mean_entropy")  # metrics of a result that are printed
MEANINGS = {
    "genotype/skip_share": "share of skip connections among the genotype's operations",
    "alpha/mean_entropy": "mean entropy of a row of mixing weights, in nats; ln n of n options is undecided, 0 decided",
}


def explained(name: str, value: float) -> str | None:
    """The text of a metric for people; None where it is not shown."""
    if not name.startswith(SHOWN):
        return None
    meaning = MEANINGS.get(name)
    return f"{value:.4f}" + (f"  ({meaning})" if meaning else "")


def margin_rows(margins: Sequence[tuple[str, str, str, str, float]]) -> dict[str, str]:
    """What is printed of (table, row, first, second, lead) of each decision: a row a table, one for all single ones."""
    counts = Counter(table for table, *_ in margins)
    rows: dict[str, list[str]] = {}
    for table, row, first, second, lead in margins:
        several = counts[table] > 1
        place = row if several else table
        rows.setdefault(f"margins {table}" if several else "margins", []).append(
            f"{place} {first} {lead:.4f} before {second}"
        )
    return {name: ", ".join(texts) for name, texts in rows.items()}


def undecided(share: float, epochs: int, lr: float) -> str:
    """A warning for alphas that have come `share` (0..1) of the way from uniform to decided."""
    return (
        f"the alphas have come {100 * share:.2g} % of the way from uniform to decided, and the genotype says little "
        f"but how they were drawn: more epochs (epochs={epochs}) or a larger rate (alphas.lr={lr:g}) would help"
    )
