"""Counted randomness, and the augmentation that it drives, against a slow loop."""

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.counter import derive, permutation, uniform
from supernet.data.augment import Augment
from supernet.errors import SupernetError

FROZEN_UNIFORM = [[0.38764171004099157, 0.8149175820698973], [0.4699426880774502, 0.36699383118854845]]
FROZEN_PERMUTATION = [7, 4, 1, 3, 0, 5, 2, 6]
FROZEN_SEED = 3913937286974225174


def test_values_are_frozen() -> None:
    """Every run's data order hangs on these numbers: a change here breaks the resuming of old runs."""
    drawn = uniform(7, "weights", 3, np.array([0, 41]), 2)
    np.testing.assert_array_equal(drawn, FROZEN_UNIFORM)
    assert permutation(7, "weights", 3, 8).tolist() == FROZEN_PERMUTATION
    assert derive(7, "transform", 3) == FROZEN_SEED


def test_scalar_oracle() -> None:
    """The vectorised mixing against plain Python integers."""

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    key = int.from_bytes(hashlib.sha256(b'[5, "s", 2]').digest()[:8], "little")
    golden, index = 0x9E3779B97F4A7C15, [0, 1, 12345678901]
    expected = [
        [(mix((mix((key + i * golden) % 2**64) + (d + 1) * golden) % 2**64) >> 11) / 2**53 for d in range(4)]
        for i in index
    ]
    np.testing.assert_array_equal(uniform(5, "s", 2, np.array(index), 4), expected)


@pytest.mark.parametrize("axis", ["index", "draw", "epoch", "seed"])
def test_uniform_along_each_axis(axis: str) -> None:
    """Chi-square over 64 bins; 63 degrees of freedom exceed 120 with probability 2e-5."""
    one = np.zeros(1, dtype=np.int64)
    drawn = {
        "index": lambda: uniform(1, "a", 0, np.arange(20_000), 1),
        "draw": lambda: uniform(1, "a", 0, one, 20_000),
        "epoch": lambda: np.concatenate([uniform(1, "a", e, one, 8) for e in range(2_500)]),
        "seed": lambda: np.concatenate([uniform(s, "a", 0, one, 8) for s in range(2_500)]),
    }[axis]().ravel()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.bincount((drawn * 64).astype(int), minlength=64)
    expected = len(drawn) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120


def test_neighbours_are_uncorrelated() -> None:
    table = uniform(3, "a", 0, np.arange(10_000), 5)
    others = [table[:-1], table[1:], uniform(3, "a", 1, np.arange(10_000), 5), uniform(3, "b", 0, np.arange(10_000), 5)]
    columns = np.concatenate([o[:9_999] for o in others], axis=1)
    correlation = np.corrcoef(columns, rowvar=False) - np.eye(columns.shape[1])
    assert np.abs(correlation).max() < 0.05  # five standard errors of 10,000 pairs


def test_a_row_depends_on_its_index_alone() -> None:
    whole = uniform(2, "x", 4, np.arange(100), 6)
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(uniform(2, "x", 4, order, 6), whole[order])
    np.testing.assert_array_equal(uniform(2, "x", 4, np.array([17]), 3)[0], whole[17, :3])
    assert uniform(2, "x", 4, np.array([], dtype=np.int64), 3).shape == (0, 3)


@pytest.mark.parametrize("n", [0, 1, 2, 1437])
def test_permutation_is_a_bijection(n: int) -> None:
    assert sorted(permutation(0, "a", 0, n)) == list(range(n))


def test_permutations_differ() -> None:
    seen = {tuple(permutation(s, t, e, 50)) for s in (0, 1) for t in ("a", "b") for e in range(25)}
    assert len(seen) == 100
    first = np.bincount([permutation(0, "a", e, 10)[0] for e in range(2_000)], minlength=10)
    assert ((first - 200) ** 2 / 200).sum() < 40  # 9 degrees of freedom: probability 8e-6


def test_derive_tells_labels_apart() -> None:
    seeds = [
        derive(1, "a", "b"),
        derive(1, "ab"),
        derive(1, "a", 1),
        derive(1, "a", "1"),
        derive(1),
        derive(0, "a", "b"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


# ---------------------------------------------------------------------------------------------- augmentation

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def _slow(augment: Augment, image: Tensor, draws: np.ndarray) -> Tensor:
    """One sample by the book: pad, crop, mirror, scale, normalise, square of zeros."""
    channels, height, width = image.shape
    pad, side = min(augment.pad, min(height, width) // 8), min(augment.cutout, min(height, width) // 2)
    padded = torch.zeros(channels, height + 2 * pad, width + 2 * pad, dtype=image.dtype)
    padded[:, pad : pad + height, pad : pad + width] = image
    top, left = int(draws[0] * (2 * pad + 1)), int(draws[1] * (2 * pad + 1))
    out = padded[:, top : top + height, left : left + width]
    if augment.flip and draws[2] < 0.5:
        out = out.flip(2)
    out = out.float() / 255
    for c in range(channels if augment.mean else 0):
        out[c] = (out[c] - torch.tensor(augment.mean[c])) / torch.tensor(augment.std[c])
    row, column = int(draws[3] * height) - side // 2, int(draws[4] * width) - side // 2
    for y in range(max(row, 0), min(row + side, height)):
        for x in range(max(column, 0), min(column + side, width)):
            out[:, y, x] = 0
    return out


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 17, 9), (3, 8, 8), (3, 1, 1)])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(pad=4, flip=True, cutout=16, mean=MEAN, std=STD),
        Augment(pad=1, cutout=3),
        Augment(flip=True, mean=MEAN, std=STD),
    ],
)
def test_augment_equals_a_slow_loop(shape: tuple[int, int, int], augment: Augment) -> None:
    images = torch.randint(256, (40, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = augment.draws(1, "weights", 2, np.arange(40))
    whole = augment.apply(images, draws)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, torch.stack([_slow(augment, i, d) for i, d in zip(images, draws, strict=True)]))
    parts = torch.cat([augment.apply(images[s : s + 7], draws[s : s + 7]) for s in range(0, 40, 7)])
    assert torch.equal(parts, whole)


def test_augment_reaches_every_crop_and_shrinks_for_small_images() -> None:
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(500, -1, -1, -1)
    seen = Augment(pad=4).apply(image, Augment(pad=4).draws(0, "a", 0, np.arange(500)))
    assert len({tuple(i.flatten().tolist()) for i in seen}) == 9  # pad 4 becomes 1
    white = torch.full((500, 1, 8, 8), 255, dtype=torch.uint8)
    holes = (Augment(cutout=16).apply(white, Augment().draws(0, "a", 0, np.arange(500))) == 0).sum((1, 2, 3))
    assert holes.max() == 16  # cutout 16 becomes 4
    assert holes.min() == 4  # a corner keeps a quarter


def test_evaluation_only_normalises() -> None:
    images = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    out = Augment(pad=4, flip=True, cutout=4, mean=MEAN, std=STD).apply(images)
    expected = (images.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=0)
    floats = torch.randn(2, 5)
    assert Augment().apply(floats, Augment().draws(0, "a", 0, np.arange(2))) is floats


def test_wrong_deviations() -> None:
    with pytest.raises(SupernetError, match="std="):
        Augment(mean=(0.5,), std=(0.0,))
