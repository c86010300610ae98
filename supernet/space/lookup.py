"""A genotype by what a user has at hand: a published name, a file, or the folder of a run; and the space it is of."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import GenotypeError, SupernetError
from ..files import read_text
from .foreign import read_foreign
from .form import SpaceFile, space_file
from .genotype import MOST_BYTES, Genotype
from .published import published
from .registry import SPACES, space_of
from .space import Space

__all__ = ["SPACE_FILE", "find_genotype", "find_space", "kept_space"]

SPACE_FILE = "space.yaml"  # beside the genotype of a run whose space is not registered


def find_genotype(reference: str | Path | Genotype) -> tuple[Genotype, str]:
    """(genotype, label): the label is the published name, else the genotype's hash.

    A text, or what a file holds, may be in a form of another project (foreign/).

    Where a space file lies beside the genotype its digest follows: of one name there may be several such spaces.
    Raises GenotypeError where nothing is found under `reference`.
    """
    if isinstance(reference, Genotype):
        return reference, reference.hash
    path = Path(reference).expanduser()
    try:
        folder = path.is_dir()
        if folder:
            path = path / "genotype.json"
            if not path.is_file():
                raise GenotypeError(f"{reference} holds no genotype.json; is it the folder of a finished search?")
        if path.is_file():
            genotype, file = _load(path, links=not folder), kept_space(reference)
            return genotype, f"{genotype.hash}-{file.digest}" if file else genotype.hash
    except (OSError, ValueError) as error:  # a name too long for a path, or with a null byte
        if isinstance(error, SupernetError):
            raise
    text = str(reference)
    if (foreign := read_foreign(text)) is not None:
        return foreign, foreign.hash
    if not text or ("/" in text.partition(":")[0] and ":" not in text) or text.endswith(".json"):
        raise GenotypeError(
            f"no genotype at {text[:200]!r}; give a genotype.json, a search run's folder or a published name"
        )
    return published(text), text


def _load(path: Path, *, links: bool) -> Genotype:
    """The genotype in a file; raises GenotypeError that begins with the file."""
    try:
        return Genotype.load(path, links=links)
    except GenotypeError as error:
        try:
            foreign = read_foreign(read_text(path, MOST_BYTES, links=links), str(path))
        except (OSError, ValueError):
            foreign = None
        if foreign is not None:
            return foreign
        text = str(error)
        raise GenotypeError(text if str(path) in text else f"{path}: {text}") from None


def kept_space(reference: str | Path | Genotype) -> SpaceFile | None:
    """The space file in the folder that `reference` names, or beside the genotype file; None where there is none."""
    if isinstance(reference, Genotype):
        return None
    path = Path(reference)
    try:
        path = (path if path.is_dir() else path.parent) / SPACE_FILE
        return space_file(path, links=False) if Path(reference).exists() and path.is_file() else None
    except (OSError, ValueError) as error:
        if isinstance(error, SupernetError):
            raise
        return None


def find_space(reference: str | Path | Genotype, genotype: Genotype, allow: Sequence[str] = ()) -> Space:
    """The space of the `genotype` found under `reference`: that of the file beside it, else the registered one.

    `allow` has the prefixes of import paths whose classes the file may name. Raises SupernetError where neither is
    there, or where the genotype is none of its points.
    """
    file = kept_space(reference)
    if file is None and genotype.space not in SPACES:
        raise GenotypeError(
            f"space {genotype.space[:60]!r} is not registered, and there is no {SPACE_FILE} beside the genotype: give "
            "the folder of the search's run, or in Python space=Space(Net)"
        )
    space = file.space(allow) if file else space_of(genotype)
    space.validate(genotype)
    return space
