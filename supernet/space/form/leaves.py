"""Parts of a written network that hold no other part: operations, pools, and what has no weights."""

from collections.abc import Callable, Mapping

from torch import nn

from ...errors import SupernetError
from ...ops import OPERATIONS, operation
from ..value import choices_of
from .fields import FormError, brief, one_of, whole
from .modules import POOLS, Tokens
from .scope import Scope
from .strict import Data
from .values import read_value

__all__ = ["LEAVES", "Own"]

MOST_CHANNELS = 65_536
Own = Mapping[str, Data]  # the keys of one part


def _op(own: Own, scope: Scope, where: str) -> nn.Module:
    kind = one_of(read_value(own["op"], scope, where, texts=True), where, OPERATIONS)
    sizes = {}
    for key, default in (("c_in", None), ("c_out", None), ("stride", 1)):
        value = read_value(own.get(key, default), scope, f"{where}.{key}")
        if choices_of(value):
            raise FormError(
                f"{where}.{key} is not decided yet, which operations cannot have; use conv, norm and linear"
            )
        sizes[key] = whole(value, f"{where}.{key}", 1, MOST_CHANNELS)
    affine = own.get("affine", True)
    if not isinstance(affine, bool):
        raise FormError(f"{where}.affine: {brief(affine)} must be true or false")
    try:
        return operation(kind, **sizes, affine=affine)
    except (SupernetError, RuntimeError, ValueError) as error:
        raise FormError(f"{where}: {brief(str(error), 160)}") from None


def _pool(own: Own, scope: Scope, where: str) -> nn.Module:
    kind = one_of(own["pool"], where, POOLS)
    kernel_size = whole(own.get("kernel_size", 3), f"{where}.kernel_size", 1, 64)
    return POOLS[kind](kernel_size, whole(own.get("stride", 1), f"{where}.stride", 1, 64))


def _flatten(own: Own, scope: Scope, where: str) -> nn.Module:
    return nn.Flatten(whole(1 if own["flatten"] is None else own["flatten"], where, 1, 3))


def _dropout(own: Own, scope: Scope, where: str) -> nn.Module:
    rate = read_value(own["dropout"], scope, where)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise FormError(f"{where}: {brief(rate)} must be a number in [0, 1)")
    return nn.Dropout(rate)


def _identity(own: Own, scope: Scope, where: str) -> nn.Module:
    return nn.Identity()


def _tokens(own: Own, scope: Scope, where: str) -> nn.Module:
    return Tokens()


# Key of a part -> what makes it of the part's keys, the names in scope and where it stands.
LEAVES: Mapping[str, Callable[[Own, Scope, str], nn.Module]] = {
    "dropout": _dropout,
    "flatten": _flatten,
    "identity": _identity,
    "op": _op,
    "pool": _pool,
    "tokens": _tokens,
}
