"""The stage `demo`: search, retrain and export on the embedded digits, with random cells as the control."""

from ..errors import SupernetError
from .stage import Stage, Words

__all__ = ["STAGE"]


def run(words: Words) -> int:
    if words.given not in ((), ("fresh",)):
        raise SupernetError(
            f"supernet demo takes no settings, but was given {' '.join(words.given)[:80]!r}; allowed: fresh"
        )
    from .run_demo import run_demo

    run_demo(fresh=bool(words.given))
    return 0


STAGE = Stage(
    name="demo",
    help="all three on the embedded digits, with random cells as the control",
    example="supernet demo",
    run=run,
)
