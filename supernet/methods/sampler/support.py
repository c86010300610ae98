"""What has a weight runs, and nothing else.

gate[e, o] = p[e, o] != 0

For relaxations that give many options no weight at all (sparse_code, stable_rank): these then cost nothing.
"""
# E edges, O operations

from torch import Tensor

from ..parts import SAMPLERS, Sampler

__all__ = ["Support"]


@SAMPLERS.register("support")
class Support(Sampler):
    """No draw: the weights are those of the relaxation."""

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(p [E, O] as it is, the gate [E, O] of what is not 0)."""
        return p_EO, p_EO.detach() != 0
