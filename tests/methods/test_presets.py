"""Every preset of a method composes, trains, selects and resumes to the bit; a new one is tested without a new test."""
# E edges, O operations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.config import GuardConfig, SearchConfig, from_mapping
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.presets import merged, preset, preset_names
from supernet.runtime.guard import Guard
from supernet.runtime.ranks import Ranks
from supernet.space import get_space
from supernet.stages.run_search import run_search
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.captured import CapturedStep
from supernet.train.phases import planned
from tests.support.covering import sampled
from tests.support.replaying import NotedGraphs
from tests.support.searches import SPACES, TINY, final_state, same
from tests.support.small_parts import small
from tests.support.two_ranks import digest, forked
from tests.support.zoo_small import SMALL

PRESETS = preset_names("method")
# Names of before and the newcomer's are presets of others, to the letter.
ALIASES = {"darts_first_order": "darts", "darts_second_order": "darts2"}
DISTINCT = [name for name in PRESETS if name not in ALIASES]
NETWORKS: dict[str, dict[str, Any]] = {
    "darts": {"channels": 4, "layers": 3},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
    "nas_bench_macro": {"channels": 4, "features": 8},
    "mobilenetv3_like": SMALL["mobilenetv3_like"][1],
}
# How the line begins by which a preset is refused: it names the part, or the argument of the network.
REFUSED = ("method.", "the edge connector ", "unknown argument of the 'nas_bench_macro' supernet: 'partial'")
# Of each kind one, and few: a test is about the method, and takes as long as its operations.
FEW = {"darts": {"nodes": 1, "operations": ["none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"]}}
ARGUMENTS = {**SPACES, **FEW, "mobilenetv3_like": SMALL["mobilenetv3_like"][0]}
ELSEWHERE = {"tangle": "mobilenetv3_like"}  # presets that make no sense on a space of cells, and where they do


def config_of(name: str, root: Path, space: str | None = None, **more: Any) -> SearchConfig:
    """Two steps an epoch, two epochs, or three where a preset says how many it wants."""
    space = space or ELSEWHERE.get(name, "darts")
    settings = small(preset("method", name))
    own = {
        "epochs": 3 if "epochs" in settings else 2,
        "data": {"limit": 44},
        "checkpoint": {"every_steps": 2},
        "run": {"root": str(root), "name": "run"},
    }
    base = {**TINY, "space": {"name": space, "args": ARGUMENTS.get(space, {})}}
    return from_mapping(SearchConfig, merged(base, settings, {"network": NETWORKS[space]}, own, more))


def batches(number: int, pixels: int = 8) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(2, 6, 1, pixels, pixels, generator=generator)
    targets = torch.randint(0, 10, (2, 6), generator=generator)
    return (images[0], targets[0]), (images[1], targets[1])


def step_of(config: SearchConfig, executor: str = "torch", ranks: Ranks | None = None) -> BilevelStep:
    space = get_space(config.space.name, **config.space.args)
    sizes = {"num_classes": 10, "in_chans": 1} | config.network
    net = Supernet(space, executor=executor, seed=0, **sizes)
    guard = Guard(GuardConfig(skips=3), net, torch.device("cpu"), waits=False)
    more: dict[str, Any] = {"weights": config.weights, "alphas": config.alphas, "ranks": ranks}
    return BilevelStep(net, ImageClassification(10), method=config.method, guard=guard, epochs=4, **more)


@pytest.mark.parametrize("name", ALIASES)
def test_a_name_of_before_is_the_same_preset(name: str) -> None:
    configs = [from_mapping(SearchConfig, preset("method", one)) for one in (name, ALIASES[name])]
    one, other = (replace(config, method=replace(config.method, name="")) for config in configs)
    assert one == other


@pytest.mark.parametrize("name", DISTINCT)
def test_it_resumes_to_the_bit_and_selects(tmp_path: Path, name: str) -> None:
    """Stopped in the middle of its second epoch; the same seed gives the same bits."""
    config = partial(config_of, name)
    whole = run_search(config(tmp_path / "whole"))
    run_search(config(tmp_path / "parts"), until=lambda step: step >= 3)
    again = run_search(config(tmp_path / "parts"))
    assert whole.done
    assert again.done
    assert whole.genotype.hash == again.genotype.hash
    same(final_state(tmp_path / "whole"), final_state(tmp_path / "parts"))
    assert whole.genotype.origin["method"] == name


@pytest.mark.parametrize("name", DISTINCT)
def test_its_steps_replay_as_a_graph_would(tmp_path: Path, name: str) -> None:
    """And its alphas get finite gradients, not all zero, where the method has them.

    What differentiates twice is not captured, nor on a processor what draws noise on activations there, or a network
    whose layers take numbers from the host.
    """
    config, states = config_of(name, tmp_path), []
    for graphs in (None, NotedGraphs()):
        step = step_of(config, "reference")
        first = [alpha.detach().clone() for alpha in step.alphas]
        stepper = CapturedStep(step, graphs=graphs)
        step.method.gates_on_device = True
        learns = step.method.hypergradient.learns
        for number in range(5):
            train, val = batches(number)
            torch.manual_seed(number)
            stepper(train, val if learns else None, number // 2, number)
        if graphs is not None and not stepper.captured:
            method = step.method
            on_host = any("draws on activations" in part.traits for part in method.connectors) or name in ELSEWHERE
            assert method.stays_out or method.double_backward or on_host, stepper.why_not
        assert all(bool(torch.isfinite(alpha).all()) for alpha in step.alphas)
        assert any(not torch.equal(a, b) for a, b in zip(first, step.alphas, strict=True)) is learns
        states.append({**step.net.state_dict(), **dict(step.method.state_dict())})
    same(*states)


@pytest.mark.parametrize("space", ["nasbench201", "nas_bench_macro"])
@pytest.mark.parametrize("name", DISTINCT)
def test_it_runs_on_other_spaces_or_says_in_one_line_why_not(tmp_path: Path, name: str, space: str) -> None:
    config = config_of(name, tmp_path, space)
    try:
        step = step_of(config)
        planned(config, step.method)
        learns = step.method.hypergradient.learns
        sums = step(batches(0)[0], batches(0)[1] if learns else None, epoch=0, step=0)
    except SupernetError as error:
        line = str(error)
    else:
        assert torch.isfinite(sums["train"]["loss"])
        step.net.space.validate(step.method.present(step.net))
        return
    assert "\n" not in line
    assert line.startswith(REFUSED), line


SHORT = [case.values[0] for case in sampled(DISTINCT, 4) if not case.marks]


@pytest.mark.parametrize("names", [SHORT, pytest.param(DISTINCT, marks=pytest.mark.long)], ids=["some", "all"])
def test_two_ranks_agree(tmp_path: Path, names: list[str]) -> None:
    """One pair of processes for all of them; each rank has batches of its own."""

    def work(rank: int) -> dict[str, str]:
        ranks, found = Ranks.join(minutes=2), {}
        for name in names:
            step = step_of(config_of(name, tmp_path / name), ranks=ranks)
            ranks.same_state(step.net)
            for number in range(2):
                ranks.seed_step(0, number)
                train, val = batches(2 * number + rank)
                step(train, val if step.method.hypergradient.learns else None, epoch=number, step=number)
            ranks.same_buffers(step.method)  # as at an epoch's end: running statistics are those of a rank's batches
            parameters = [p.detach() for p in (*step.weights, *step.alphas)]
            found[name] = digest([*parameters, dict(step.method.state_dict())])
        return found

    first, second = forked(work, tmp_path / "ranks")
    assert first == second
    assert set(first) == set(names)
