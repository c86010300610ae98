"""The stage `demo`: search, retrain and export on cluttered digits, with random cells as the control."""

from ..errors import SupernetError
from .stage import Stage, Words

__all__ = ["STAGE"]


HELP = """\
Usage: supernet demo        searches, retrains and exports on cluttered digits, beside random cells of equal size
       supernet demo fresh  the same from the beginning; without it what is there is found or goes on

It takes some minutes on two cores, needs no download, and leaves its runs in runs/demo."""


def run(words: Words) -> int:
    if any(word in ("-h", "--help", "help") for word in words.given):
        print(HELP)
        return 0
    if words.given not in ((), ("fresh",)):
        raise SupernetError(
            f"supernet demo takes no settings, but was given {' '.join(words.given)[:80]!r}; allowed: fresh"
        )
    from .run_demo import run_demo

    run_demo(fresh=bool(words.given))
    return 0


STAGE = Stage(
    name="demo",
    help="all three on embedded data, with random cells as the control",
    example="supernet demo",
    run=run,
)
