"""Which words of a command line are settings of the comparison, and which are words of its searches and retrainings.

    supernet compare methods=[darts,drnas] seeds=5 space=s2 data=cifar10 epochs=20 retrain.epochs=60

methods, seeds ...              settings of the comparison
retrain.KEY=VALUE               of each retraining alone
search.KEY=VALUE                of each search alone
KEY=VALUE                       of each search; the data, and how and where it is run, of each retraining as well

Lists of words may also stand in YAML files, which come from others: `checked` holds what a word may set.
"""

import dataclasses
import re
from collections.abc import Sequence

from ...config import SearchConfig
from ...errors import SupernetError, short, unknown
from ..next_command import word
from .config import CompareConfig

__all__ = ["checked", "key_of", "shared", "sorted_words"]

OWN = {field.name for field in dataclasses.fields(CompareConfig)}
GROUPS = {"suite"}  # parts of the comparison's own
OF_SEARCH = {field.name for field in dataclasses.fields(SearchConfig)} | {"experiment"}
SHARED = re.compile(r"(data|device|amp|deterministic|checkpoint|log|guard)([./@]|$)")
INSTEAD = {
    "method": "methods=[NAME,...]", "seed": "seeds=N or seeds=[0,1,...]", "run": "run.root and run.name of compare",
    "genotype": "methods=[...] or published=NAME", "run.fresh": "run.name=NAME, or run.fresh=true of a single run",
}  # fmt: skip


def sorted_words(words: Sequence[str]) -> list[str]:
    """`words` as the comparison's settings: those of its searches and retrainings become the lists of these.

    Raises SupernetError for names that neither has, and for a sweep, which a comparison is already.
    """
    if any(text in ("-sc", "--shell-completion") for text in words):
        return list(words)
    own: list[str] = []
    options: list[str] = []  # behind the overrides: Hydra's parser takes no override behind an option
    lists: dict[str, list[str]] = {"search": [], "retrain": []}
    for before, text in zip(["", *words], words, strict=False):
        key = key_of(text)
        stage = key.partition(".")[0]
        if text in ("-m", "--multirun"):
            raise SupernetError("compare takes no -m: methods=[...] and seeds=N are its sweep, and suite=mini has rows")
        if before in ("-cd", "--config-dir") or text.startswith("--config-dir="):
            options.append(text)
            own.append(word("config_dir", text.removeprefix("--config-dir=")))
        elif text.startswith("-") or not ("=" in text or text.startswith("~")):
            options.append(text)
        elif key == "space.allow":
            own.append(text.replace("space.allow", "allow", 1))
        elif key in ("method", "seed", "genotype", "run.fresh"):
            raise SupernetError(f"{key}= is not set here; give {INSTEAD[key]}")
        elif stage in lists and "." in key:
            lists[stage].append(text.replace(f"{stage}.", "", 1))
        elif stage in OWN | GROUPS or stage.partition("/")[0] == "hydra":
            own.append(text)
        elif stage in OF_SEARCH:
            lists["search"].append(text)
        else:
            raise SupernetError(unknown("setting of supernet compare:", key, OWN | OF_SEARCH, most=40))
    for stage, texts in lists.items():
        if texts and any(key_of(text) == stage for text in own):
            raise SupernetError(f"{stage} is given as a list and by words such as {short(texts[0])!r}; use one of them")
    return [*own, *(word(stage, texts) for stage, texts in lists.items() if texts), *options]


def checked(words: Sequence[object], where: str) -> list[str]:
    """`words` where all are overrides of settings; `where` names their list.

    Raises SupernetError for options, for Hydra's own part, for leave to import code, and for what a comparison sets.
    """
    for text in words:
        if not isinstance(text, str) or not re.fullmatch(r"\+{0,2}[\w./@-]+=.*|~[\w./@-]+(=.*)?", text):
            raise SupernetError(f"{where} has {short(repr(text))}, which is no key=value")
        key = key_of(text)
        first = re.split(r"[./]", key)[0]
        if first == "hydra" or key in ("allow", "space.allow") or "${" in text:
            raise SupernetError(f"{where} has {short(text)!r}, which a list of words may not set; type it")
        if key in INSTEAD or first == "run":
            raise SupernetError(f"{where} has {short(text)!r}; give {INSTEAD.get(key, INSTEAD['run'])}")
    return [str(text) for text in words]


def key_of(text: str) -> str:
    """The key of an override, without its marks."""
    return text.lstrip("+~").partition("=")[0].partition("@")[0]


def shared(words: Sequence[str]) -> list[str]:
    """Those of the searches that hold for retrainings, too: of the data, and of how and where it is run."""
    return [text for text in words if SHARED.match(key_of(text))]
