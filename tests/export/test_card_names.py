"""Names in a card are text: no markup, no control characters, whatever they hold."""

import re
from typing import Any

from supernet.errors import printable
from supernet.export.card import write_card
from supernet.space import published

HOSTILE = ["<script>alert(1)</script>", "a|b", "`code`", "[x](http://evil)", "\x1b[31mred", "two\nlines", "<img src=x>"]


def test_hostile_names_are_text() -> None:
    genotype = published("DARTS_V2").with_origin(method=HOSTILE[0])
    data: Any = {"name": HOSTILE[3], "class_names": HOSTILE, "mean": [0.5]}
    facts: Any = {"arguments": {"channels": 4}, "metrics": {HOSTILE[1]: 0.5}}
    card = write_card(genotype, title=HOSTILE[6], parameters=7, data=data, **facts)
    for mark in ("<script", "<img", "\x1b"):
        assert mark not in card
    assert not re.search(r"(?<!\\)\]\(http", card), "no link but those of the card itself"
    assert "&lt;script&gt;" in card
    assert "\\[x\\](http://evil)" in card
    assert "two lines" in card


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31m\x07b\tc\n") == "a\\x1b[31m\\x07b\tc\n"
    assert printable("Käse 猫") == "Käse 猫"
