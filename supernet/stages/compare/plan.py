"""What a comparison runs, row by row: every method's search and the one recipe of retraining, composed from words.

All methods of a row search as many epochs as the row says, whatever a preset of theirs sets, on the same data, and
every architecture is retrained by the same words. A method's other settings are part of the method; those that touch
the budget are told (`Row.notes`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from ...config import RetrainConfig, SearchConfig
from ...errors import SupernetError
from ...presets import preset_names
from ...space.form import space_file
from ..inherited.words import NETWORK, taken_over
from ..next_command import word
from ..stage import Read
from .config import CompareConfig
from .words import checked, key_of, shared

__all__ = ["RANDOM_WS", "Planned", "Row", "method_names", "planned"]

C = TypeVar("C", SearchConfig, RetrainConfig)

RANDOM_WS = "random_ws"  # the preset of random search with shared weights
BUDGET = ("batch_size", "alpha_share")  # besides the epochs and the data


@dataclass(frozen=True)
class Planned:
    """One method in a row: its settings at any seed, and the words that give them."""

    config: SearchConfig
    words: tuple[str, ...]

    def at(self, seed: int) -> tuple[SearchConfig, list[str]]:
        """Both at `seed`."""
        return replace(self.config, seed=seed), [*self.words, word("seed", seed)]


@dataclass(frozen=True)
class Row:
    """One setting under which the methods are compared."""

    name: str  # "": the only one
    base: SearchConfig  # of the row, before any method
    methods: Mapping[str, Planned]
    retraining: RetrainConfig  # of no genotype yet
    retrain_words: tuple[str, ...]
    notes: tuple[str, ...]

    def retrain_at(self, genotype: Path, seed: int, *, dead: bool = False) -> tuple[RetrainConfig, list[str]]:
        """The retraining of the genotype in a file or run folder; a `dead` one is trained all the same."""
        config = replace(self.retraining, genotype=str(genotype), seed=seed, allow_dead=dead)
        more = [word("genotype", str(genotype)), word("seed", seed), *([word("allow_dead", True)] if dead else [])]
        return config, [*self.retrain_words, *more]


def planned(config: CompareConfig, read: Read) -> list[Row]:
    """The rows of `config`; raises SupernetError for any mistake in words and presets, before anything runs."""
    lists = {name: _lists(name, value) for name, value in config.rows.items()} or {"": ([], [])}
    return [_row(name, config, search, retrain, read) for name, (search, retrain) in lists.items()]


def _lists(name: str, value: object) -> tuple[list[str], list[str]]:
    """The words of searches and retrainings of a row."""
    lists = value if isinstance(value, Mapping) else {"search": value}
    if strange := set(lists) - {"search", "retrain"}:
        raise SupernetError(f"rows.{name} has {min(strange)!r}; it takes the lists search and retrain")
    return _words(lists.get("search"), f"rows.{name}.search"), _words(lists.get("retrain"), f"rows.{name}.retrain")


def _words(value: object, where: str) -> list[str]:
    if not isinstance(value, list | None):
        raise SupernetError(f"{where} must be a list of words such as space=s2")
    return checked(value or [], where)


def _row(name: str, config: CompareConfig, search: Sequence[str], retrain: Sequence[str], read: Read) -> Row:
    own = [f"--config-dir={config.config_dir}"] if config.config_dir else []
    both = _on_top(search, checked(config.search, "search"))
    root = word("run.root", config.run.root)
    leave = [word("space.allow", config.allow)] if config.allow else []
    words = [*own, *both, *leave, root]
    base = _search(read, words)
    methods: dict[str, Planned] = {}
    names, notes = method_names(config)
    for method in names:
        mine = [*words, word("method", method)]
        one = _search(read, mine)
        if one.epochs != base.epochs:
            notes.append(f"{method} asks for {one.epochs} epochs and searches {base.epochs}, as all others do")
            mine.append(word("epochs", base.epochs))
            one = _search(read, mine)
        for key in BUDGET:
            if getattr(one, key) != getattr(base, key):
                notes.append(f"{method} searches with {key}={getattr(one, key)}, others with {getattr(base, key)}")
        if one.data != base.data:
            notes.append(f"{method} searches with data settings of its own")
        methods[method] = Planned(one, tuple(mine))
    typed = _on_top([*shared(both), *retrain], checked(config.retrain, "retrain"))
    trained = [*own, *_after_search(base, typed), *typed, root]
    trained += [word("allow", config.allow)] if config.allow else []
    (retraining,) = _one(read("retrain", trained), RetrainConfig)
    return Row(name, base, methods, retraining, tuple(trained), tuple(notes))


def _on_top(words: Sequence[str], typed: Sequence[str]) -> list[str]:
    """`words` without those that are typed anew, and `typed` behind them."""
    keys = {key_of(text) for text in typed}
    return [*(text for text in words if key_of(text) not in keys), *typed]


def method_names(config: CompareConfig) -> tuple[list[str], list[str]]:
    """Those of the settings, and random search with shared weights where there is a preset of it; with notes."""
    if config.random_ws == "off" or RANDOM_WS in config.methods:
        return config.methods, []
    if RANDOM_WS not in preset_names("method"):
        return config.methods, [f"the control {RANDOM_WS} is left out, it is no preset of method here"]
    return [*config.methods, RANDOM_WS], []


def _after_search(base: SearchConfig, typed: Sequence[str]) -> list[str]:
    """Data, size and recipe of the retraining, as after the search `base`; those that are typed win."""
    if any(key_of(text) == "experiment" for text in typed):
        return []
    file = space_file(base.space.file) if base.space.file else None
    keys = {key_of(text) for text in typed}
    words = taken_over(asdict(base), base.space.name if file is None else file.name, file, keys)
    if "network" not in {key_of(text) for text in (*typed, *words)}:  # said, or a process of its own would look for one
        brings_network = file is not None and "cells" not in file.data
        words.insert(0, "~network" if brings_network else word("network", NETWORK))
    return words


def _search(read: Read, words: Sequence[str]) -> SearchConfig:
    (config,) = _one(read("search", words), SearchConfig)
    return config


def _one(configs: Sequence[object], kind: type[C]) -> list[C]:
    """The only one of `configs`."""
    mine = [config for config in configs if isinstance(config, kind)]
    if len(mine) != 1:
        raise SupernetError("a comparison takes one value for each setting; rows and methods are its sweep")
    return mine
