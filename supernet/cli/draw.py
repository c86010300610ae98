"""The command ``supernet draw key=value ...``: its settings are few, so they are read here and not by Hydra."""

from collections.abc import Sequence

from ..errors import SupernetError, unknown

__all__ = ["main"]

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


def main(arguments: Sequence[str]) -> int:
    """Draws what the arguments name and prints the files; the exit code. Raises SupernetError for mistakes."""
    if any(argument in ("-h", "--help", "help") for argument in arguments):
        print(_help())
        return 0
    given = _settings(arguments)
    from ..drawing import draw

    allow = _prefixes(given.pop("allow", ""))
    for path in draw(**given, allow=allow):
        print(path)
    return 0


def _settings(arguments: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = ALIASES.get(key, key)
        if not equals:
            raise SupernetError(f"{argument[:60]!r} is no key=value; settings of supernet draw: {', '.join(SETTINGS)}")
        if key not in SETTINGS:
            raise SupernetError(unknown("setting of supernet draw:", key, SETTINGS))
        if key in given:
            raise SupernetError(f"{key} is given twice, {given[key][:60]!r} and {value[:60]!r}")
        if not value or len(value) > MOST or "\0" in value:
            raise SupernetError(f"{key}={value[:60]!r} is empty, too long or has a zero byte; {key}: {SETTINGS[key]}")
        given[key] = value
    return given


def _prefixes(text: str) -> list[str]:
    """`a,b` and, as a search takes it, `[a,b]`."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [prefix for part in inner.split(",") if (prefix := part.strip(" \"'"))]


def _help() -> str:
    width = max(map(len, SETTINGS)) + 2
    lines = [f"  {name:{width}}{what}" for name, what in SETTINGS.items()]
    examples = ["genotype=DARTS_V2", "genotype=runs/RUN to=cells/", "run=runs/RUN to=now.png", "space=darts"]
    return "\n".join(
        ["Usage: supernet draw key=value ...", "", *lines, "", *(f"  supernet draw {e}" for e in examples)]
    )
