"""GraSP: how much each weight holds the gradient's flow up.

Wang, Zhang and Grosse, "Picking winning tickets before training by preserving gradient flow",
https://arxiv.org/abs/2002.07376; as a score, with its sign: https://arxiv.org/abs/2101.08134.

    score = -sum theta * (H g),  g = dL/dtheta, H the Hessian of L   over the weights of convolutions and linear layers

Every operation must allow a second derivative; torch says which one does not. Attention runs in its plain form, the one
that does.

The authors' code (SamsungLabs/zero-cost-nas, grasp.py) runs the batch twice, once for g and once for H g, where here
one pass gives both; it has found the minus to rank better than the plus. The first code (alecwangcq/GraSP) divides
the logits by a temperature of 200 and takes ten samples of each class; here neither.
"""

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..probe import Trial, gradients, weights
from .registry import zero_cost

__all__ = ["grasp"]


@zero_cost("grasp")
def grasp(trial: Trial, /) -> float:
    """The mean over batches."""
    of = weights(trial.network)

    def of_batch(inputs: Tensor, targets: object) -> float:
        with sdpa_kernel(SDPBackend.MATH):
            loss = trial.batch_loss(inputs, targets)
        flow = gradients(loss, of, create_graph=True)
        along = sum(((g.detach() * g).sum() for g in flow), start=flow[0].new_zeros(()))
        products = gradients(along, of)
        return -sum(float((w.detach() * hg).sum()) for w, hg in zip(of, products, strict=True))

    return trial.mean(of_batch)
