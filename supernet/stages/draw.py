"""The stage `draw`: pictures of a genotype, a search run or a space. Its few settings are read here, without Hydra."""

from collections.abc import Sequence

from ..errors import SupernetError, unknown
from .stage import Stage, Words

__all__ = ["STAGE"]

SETTINGS = {
    "genotype": "a published name, a genotype.json or a run folder: the cells, or the decisions, that it chose",
    "run": "a search run: its mixing weights in the newest checkpoint",
    "space": "a registered name or a YAML file: all that there is to choose from",
    "to": "a folder, or the name of a picture (.svg, .png); default: here",
    "format": "svg (default) or png",
    "allow": "prefixes of import paths whose classes a space file may name, such as mypkg.blocks,mypkg.heads",
}
ALIASES = {"space.file": "space", "space.allow": "allow"}  # as a search spells them
MOST = 4000  # characters of a value; no path is longer


def run(words: Words) -> int:
    """Draws what the words name and prints the files. Raises SupernetError for mistakes."""
    if any(word in ("-h", "--help", "help") for word in words.given):
        print(_help())
        return 0
    settings = _settings(words.given)
    allow = _listed(settings.pop("allow", ""))
    from .run_draw import draw

    for path in draw(**settings, allow=allow):
        print(path)
    return 0


def _settings(words: Sequence[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = ALIASES.get(key, key)
        if not equals:
            raise SupernetError(f"{word[:60]!r} is no key=value; settings of supernet draw: {', '.join(SETTINGS)}")
        if key not in SETTINGS:
            raise SupernetError(unknown("setting of supernet draw:", key, SETTINGS))
        if key in settings:
            raise SupernetError(f"{key} is given twice, {settings[key][:60]!r} and {value[:60]!r}")
        if not value or len(value) > MOST or "\0" in value:
            raise SupernetError(f"{key}={value[:60]!r} is empty, too long or has a zero byte; {key}: {SETTINGS[key]}")
        settings[key] = value
    return settings


def _listed(text: str) -> list[str]:
    """`a,b` and, as a search takes it, `[a,b]`."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [item for part in inner.split(",") if (item := part.strip(" \"'"))]


def _help() -> str:
    width = max(map(len, SETTINGS)) + 2
    lines = [f"  {name:{width}}{what}" for name, what in SETTINGS.items()]
    examples = ["genotype=DARTS_V2", "genotype=runs/RUN to=cells/", "run=runs/RUN to=now.png", "space=darts"]
    return "\n".join(
        ["Usage: supernet draw key=value ...", "", *lines, "", *(f"  supernet draw {e}" for e in examples)]
    )


STAGE = Stage(
    name="draw",
    help="write pictures of a genotype, a search run or a space",
    example="supernet draw genotype=DARTS_V2 to=cells/",
    run=run,
)
