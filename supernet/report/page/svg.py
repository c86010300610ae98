"""A figure of matplotlib as an SVG that stands inside a page: no style attributes, no foreign elements, ids of its own.

A strict Content-Security-Policy allows no style attributes, so they become attributes that SVG has for the same. What
is on no list is left out: metadata, with the addresses in it, and whatever else might come.
"""

import re
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from ..files import picture

__all__ = ["MOST", "inline"]

MOST = 250_000  # characters of one drawing; a page of many would be slow on a phone
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ELEMENTS = {"svg", "g", "path", "text", "tspan", "use", "defs", "clipPath", "rect", "line", "polyline", "circle"}
ATTRIBUTES = {
    "d", "x", "y", "width", "height", "transform", "viewBox", "points", "cx", "cy", "r", "clip-path", "fill", "stroke",
    "fill-opacity", "stroke-opacity", "opacity", "stroke-width", "stroke-linejoin", "stroke-linecap", "font-size",
    "stroke-dasharray", "stroke-dashoffset", "text-anchor", "font-weight", "font-style", "stroke-miterlimit",
}  # fmt: skip
REFERENCE = re.compile(r"url\(#([\w-]+)\)")
FONT = re.compile(r"(?P<words>[a-z0-9 ]*?)\b(?P<size>[\d.]+)px")


def inline(figure: Figure, prefix: str, label: str) -> Markup | None:
    """The `<svg>` of a figure, with `label` for those who hear the page; its ids begin with `prefix`.

    None where it would be longer than MOST.
    """
    figure.patch.set_alpha(0)
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters as text: smaller, and they can be searched
        root = ElementTree.fromstring(picture(figure, "svg"))
    used = set(REFERENCE.findall(" ".join(value for e in root.iter() for value in e.attrib.values())))
    used |= {value[1:] for e in root.iter() if (value := e.get(f"{XLINK}href", "")).startswith("#")}
    clean = _clean(root, prefix, used)
    if clean is None:
        return None
    width = float(root.get("width", "0pt").removesuffix("pt"))
    clean.attrib |= {"role": "img", "aria-label": label, "width": f"{width * 4 / 3:.0f}"}
    clean.attrib.pop("height", None)
    text = ElementTree.tostring(clean, encoding="unicode", short_empty_elements=False)
    return Markup(text) if len(text) <= MOST else None


def _clean(element: ElementTree.Element, prefix: str, used: set[str]) -> ElementTree.Element | None:
    """A copy with what the lists allow; None for an element that they do not name."""
    name = element.tag.removeprefix(SVG) if isinstance(element.tag, str) else ""
    if name not in ELEMENTS:
        return None
    given = {**element.attrib, **_styles(element.get("style", ""))}
    copy = ElementTree.Element(name, {k: v for k, v in given.items() if k in ATTRIBUTES and "url(" not in v})
    if element.get("id") in used:
        copy.set("id", prefix + str(element.get("id")))
    if match := REFERENCE.fullmatch(given.get("clip-path", "")):
        copy.set("clip-path", f"url(#{prefix}{match[1]})")
    if (target := element.get(f"{XLINK}href", "")).startswith("#"):
        copy.set("href", f"#{prefix}{target[1:]}")
    copy.text = element.text if name in ("text", "tspan") else None
    copy.extend(child for below in element if (child := _clean(below, prefix, used)) is not None)
    return copy


def _styles(style: str) -> dict[str, str]:
    """The declarations of a style attribute as attributes of their own."""
    found = {}
    for declaration in style.split(";"):
        key, _, value = declaration.partition(":")
        found[key.strip()] = value.strip()
    if match := FONT.match(found.pop("font", "")):
        found["font-size"] = match["size"]
        words = match["words"].split()
        found |= {"font-weight": "bold"} if {"bold", "700"} & set(words) else {}
        found |= {"font-style": "italic"} if "italic" in words else {}
    return found
