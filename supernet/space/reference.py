"""A genotype by what a user has at hand: a published name, a file, or the folder of a search run."""

from pathlib import Path

from ..errors import GenotypeError
from .genotype import Genotype
from .published import published

__all__ = ["find_genotype"]


def find_genotype(reference: str | Path | Genotype) -> tuple[Genotype, str]:
    """(genotype, label): the label is the published name, else the genotype's hash.

    Raises GenotypeError where nothing is found under `reference`.
    """
    if isinstance(reference, Genotype):
        return reference, reference.hash
    path = Path(reference)
    try:
        if path.is_dir():
            path = path / "genotype.json"
            if not path.is_file():
                raise GenotypeError(f"{reference} holds no genotype.json; is it the folder of a finished search?")
        if path.is_file():
            genotype = Genotype.load(path)
            return genotype, genotype.hash
    except (OSError, ValueError) as error:  # a name too long for a path, or with a null byte
        if isinstance(error, GenotypeError):
            raise
    text = str(reference)
    if not text or ("/" in text.partition(":")[0] and ":" not in text) or text.endswith(".json"):
        raise GenotypeError(
            f"no genotype at {text[:200]!r}; give a genotype.json, a search run's folder or a published name"
        )
    return published(text), text
