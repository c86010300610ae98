"""What every page is made of: templates in which all is escaped, and a policy that lets nothing load."""

import base64
import hashlib
from functools import cache
from importlib.resources import files as resources

import jinja2
from markupsafe import Markup

from .alphas import LEVELS, level
from .facts import number_text

__all__ = ["encodable", "environment", "page_policy", "page_style", "part", "policy", "trusted"]


@cache
def environment() -> jinja2.Environment:
    """Templates of this folder; every value is escaped, and a name that is not there is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("supernet.report.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"num": number_text, "level": level, "size": _size}
    return made


@cache
def part(name: str) -> str:
    """A style sheet or a script that pages carry inside."""
    return (resources("supernet.report.page") / "templates" / name).read_text(encoding="utf-8")


@cache
def page_style() -> str:
    """That of a run's page, with a rule for each shade of the heat map: no style stands in an attribute."""
    mixes = (f".h{n}{{background:color-mix(in srgb,var(--accent) {5 * n}%,var(--paper))}}" for n in range(LEVELS + 1))
    return part("page.css") + "".join(mixes)


def trusted(text: str) -> Markup:
    """A text of this package, which is not escaped; never one that a run has a word in."""
    return Markup(text)


def encodable(text: str) -> str:
    """`text` as it can be written: JSON and names of files may hold halves of characters, which UTF-8 has not."""
    return text.encode(errors="replace").decode()


def policy(style: str, script: str | None = None) -> str:
    """A Content-Security-Policy under which nothing is loaded, and only these two texts take effect."""
    scripts = f" script-src {_digest(script)};" if script else ""
    return (
        f"default-src 'none'; style-src {_digest(style)};{scripts} img-src data:; base-uri 'none'; form-action 'none'"
    )


def page_policy() -> str:
    """That of a run's page."""
    return policy(page_style(), part("page.js"))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _size(count: int | None) -> str:
    if count is None:
        return ""
    power = max(0, min(3, (len(str(count)) - 1) // 3))
    return f"{count} B" if power == 0 else f"{count / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"
