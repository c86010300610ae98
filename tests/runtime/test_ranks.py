"""Two processes that train one network: equal on both, equal to one process where that is exact, and after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supernet.config import MethodConfig, RetrainConfig, SearchConfig, from_mapping
from supernet.data import Augment, CountedLoader, EvalLoader, from_arrays
from supernet.errors import StoppedError, SupernetError
from supernet.methods import HYPERGRADIENTS
from supernet.network import Supernet
from supernet.runs.log import read_metrics
from supernet.runtime.ranks import Ranks
from supernet.space import get_space, published
from supernet.stages.run_retrain import run_retrain
from supernet.stages.run_search import run_search
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.search import SearchProgram
from tests.support.problems import problem_of
from tests.support.searches import final_state, same
from tests.support.two_ranks import WORLD, digest, forked

TINY: dict[str, Any] = {
    "epochs": 2, "batch_size": 10, "data": {"limit": 72}, "checkpoint": {"every_steps": 1},
    "log": {"every": 1, "progress": False, "tensorboard": False},
}  # fmt: skip


def search_config(root: Path, hypergradient: str = "first_order", **more: Any) -> SearchConfig:
    values = {
        **TINY,
        "space": {"name": "darts", "args": {"nodes": 2}},
        "network": {"channels": 2, "layers": 3},
        "method": {"name": "first_order", "hypergradient": hypergradient},
        "run": {"root": str(root), "name": "run"},
        **more,
    }
    return from_mapping(SearchConfig, values)


# ---------------------------------------------------------------------------------------------- the parts


def _talk(rank: int) -> dict[str, Any]:
    ranks = Ranks.join(minutes=1)
    found: dict[str, Any] = {"place": (ranks.rank, ranks.world, ranks.main, ranks.share)}
    tensors = [torch.full((2, 3), float(rank)), torch.tensor(3.0 + rank), torch.arange(4.0).double() * (rank + 1)]
    ranks.mean(tensors)
    found["mean"] = [t.tolist() for t in tensors]
    sums = {"train": {"count": torch.tensor(5 + rank), "loss": torch.tensor(0.1 * (rank + 1), dtype=torch.float64)}}
    found["total"] = {name: (value.item(), value.dtype) for name, value in ranks.total(sums)["train"].items()}
    parts = ranks.gather(sums)
    main_sums = {"train": {"count": torch.tensor(5), "loss": torch.tensor(0.1, dtype=torch.float64)}}
    found["own"] = {name: value.item() for name, value in ranks.own(main_sums, parts)["train"].items()}
    found["anew"] = {name: value.item() for name, value in ranks.own(main_sums, None)["train"].items()}
    found["broadcast"] = ranks.broadcast({"path": f"/é/{rank}", "none": None})
    found["any"] = (ranks.any(rank == 1), ranks.any(False))
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    nn.init.constant_(net[0].weight, float(rank))  # type: ignore[arg-type]
    net[1].running_mean.fill_(rank + 1)  # type: ignore[union-attr, operator]
    net[1].num_batches_tracked.fill_(rank + 2)  # type: ignore[union-attr, operator]
    ranks.same_state(net)
    found["state"] = digest(net.state_dict()), net[0].weight.sum().item(), int(net[1].num_batches_tracked)  # type: ignore
    ranks.assert_equal("the genotype", "abc")
    order: list[str] = []
    found["first"] = ranks.first(lambda: order.append("done") or f"work of {rank}")  # type: ignore[func-returns-value]
    for name, work in {
        "drifted": lambda: ranks.assert_equal("the genotype", f"hash {rank}"),
        "mistake": lambda: ranks.first(lambda: _refuse(rank)),
    }.items():
        try:
            work()
        except SupernetError as error:
            found[name] = str(error)
    ranks.seed_step(1, 7)
    found["drawn"] = torch.rand(1).item()
    return found


def _refuse(rank: int) -> None:
    if rank == 0:
        raise SupernetError("no such data")


def test_what_ranks_share(tmp_path: Path) -> None:
    one, two = forked(_talk, tmp_path)
    assert (one["place"], two["place"]) == ((0, 2, True, (0, 2)), (1, 2, False, (1, 2)))
    for found in (one, two):
        assert found["mean"] == [[[0.5] * 3] * 2, 3.5, [0.0, 1.5, 3.0, 4.5]]
        assert found["total"]["count"] == (11, torch.int64)
        assert found["total"]["loss"] == (pytest.approx(0.3), torch.float64)
        assert found["broadcast"] == {"path": "/é/0", "none": None}
        assert found["any"] == (True, False)
        assert found["state"] == (one["state"][0], 0.0, 2)
        assert found["drifted"].startswith("the ranks have drifted apart: the genotype is hash")
        assert found["mistake"] == "no such data"
    assert (one["own"]["count"], two["own"]["count"]) == (5, 6)
    assert (one["anew"]["count"], two["anew"]["count"]) == (5, 0)
    assert (one["first"], two["first"]) == ("work of 0", "work of 1")
    assert one["drawn"] != two["drawn"], "ranks drop out differently"


def test_one_rank_is_nothing() -> None:
    ranks, value = Ranks.join(), torch.ones(2)
    assert ranks == Ranks(0, 1, 0)
    state = torch.get_rng_state()
    ranks.mean([value])
    ranks.seed_step(0, 0)
    ranks.barrier()
    sums = {"train": {"count": torch.tensor(3)}}
    assert ranks.total(sums) is sums and ranks.own(sums, None) == sums
    assert ranks.own(sums, [torch.tensor([3.0]), torch.tensor([4.0])])["train"]["count"] == 7
    assert torch.equal(torch.get_rng_state(), state)
    assert ranks.device(torch.device("cuda")) == torch.device("cuda")


def test_the_share_of_each_rank() -> None:
    """Together the ranks read what one process reads, batch for batch; none trains on a single sample."""
    images, labels = torch.arange(41.0)[:, None].repeat(1, 2), torch.arange(41) % 2
    view = from_arrays((images, labels), augment=Augment()).for_retrain(0)[0]
    whole = CountedLoader(view, batch_size=8, seed=3, stream="a").indices(2)
    both = [CountedLoader(view, batch_size=8, seed=3, stream="a", share=(rank, 2)) for rank in (0, 1)]
    for batch, one, two in zip(whole, both[0].epoch(2), both[1].epoch(2), strict=True):
        assert (one.index.tolist(), two.index.tolist()) == (batch[0::2].tolist(), batch[1::2].tolist())
    read = [i for rank in range(3) for b in EvalLoader(view, batch_size=4, share=(rank, 3)) for i in b.index.tolist()]
    assert sorted(read) == list(range(41))
    assert CountedLoader(view, batch_size=64, seed=3, stream="a", share=(0, 2)).batch_size == 40
    with pytest.raises(SupernetError, match=r"has 6 samples for 4 ranks; each of them needs 2 or more"):
        CountedLoader(view, batch_size=6, seed=3, stream="a", share=(0, 4))


# ---------------------------------------------------------------------------------------------- gradients


def _supernet() -> tuple[Supernet, ImageClassification]:
    sizes = {"channels": 2, "layers": 2, "in_chans": 1, "num_classes": 3}
    net = Supernet(get_space("darts", nodes=2), seed=3, executor="reference", **sizes).double()
    with torch.no_grad():
        for alpha in net.alphas():
            alpha.copy_(torch.linspace(-1, 1, alpha.numel(), dtype=torch.float64).view_as(alpha))
    return net, ImageClassification(3)


def _batches(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A global batch of 8 as the rows of each rank."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(8, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (8,), generator=generator)
    return [(images[rank::2], labels[rank::2]) for rank in (0, 1)]


def _estimates(rank: int) -> dict[str, Any]:
    ranks, found = Ranks.join(minutes=1), {}
    for name in HYPERGRADIENTS:
        net, task = _supernet()
        config = MethodConfig(hypergradient=name)
        step = BilevelStep(net, task, method=config, ranks=ranks)
        net.train()
        loss, gradients, _ = step.alpha_gradients(_batches(1)[rank], _batches(2)[rank])
        local, _ = step.weight_gradients(_batches(1)[rank])
        mean = ranks.mean_gradients(net.weights(), local)
        weights = [w.grad.clone() for w in net.weights() if w.grad is not None]
        found[name] = float(loss), gradients, float(mean), weights
    return found


def test_the_gradients_are_those_of_the_mean_of_all_losses(tmp_path: Path) -> None:
    """In float64, against one process whose losses are the means of those of both halves."""
    results = forked(_estimates, tmp_path)
    for name in HYPERGRADIENTS:
        net, task = _supernet()
        net.train()

        def mean_loss(batches: Any, net: Any = net, task: Any = task) -> torch.Tensor:
            return sum(task.loss(net(x), y, training=True) for x, y in batches) / 2  # type: ignore[return-value]

        problem = problem_of(
            net.weights(), net.alphas(), lambda f=mean_loss: f(_batches(1)), lambda f=mean_loss: f(_batches(2)),
            lr=0.025, momentum=0.9, weight_decay=3e-4,
        )  # fmt: skip
        estimate = HYPERGRADIENTS[name]()(problem)
        loss = mean_loss(_batches(1))
        expected = torch.autograd.grad(loss, net.weights(), allow_unused=True)
        for found_loss, gradients, train_loss, weights in (result[name] for result in results):
            torch.testing.assert_close(gradients, estimate.total, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(weights, [g for g in expected if g is not None], rtol=1e-9, atol=1e-11)
            assert (found_loss, train_loss) == pytest.approx((float(estimate.val_loss), loss.item()), rel=1e-12)
        same(results[0][name], results[1][name])


# ---------------------------------------------------------------------------------------------- whole runs


def _search(root: Path, until: int | None = None, kill: tuple[int, int] | None = None, **more: Any) -> Any:
    """A function for `forked`: search, and `kill` = (rank, step) ends that rank there."""

    def work(rank: int) -> Any:
        if kill is not None and rank == kill[0]:
            step = SearchProgram.step

            def killed(self: Any, batch: Any, epoch: int, number: int) -> Any:
                if number == kill[1]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, batch, epoch, number)

            SearchProgram.step = killed  # type: ignore[method-assign]  # in this process alone
        config = search_config(root, more.pop("method", "first_order"), **more)
        try:
            found = run_search(config, until=until)
        except StoppedError as error:
            return str(error)
        return {"net": found.net.state_dict(), "genotype": found.genotype.hash, "metrics": dict(found.metrics)}

    return work


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A two-rank search that nothing interrupts."""
    root = tmp_path_factory.mktemp("whole")
    return root, forked(_search(root), root / "out")


def test_both_ranks_end_alike_and_one_writes(whole: tuple[Path, Any]) -> None:
    root, (one, two) = whole
    same(one, two)
    rows = read_metrics(root / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 3, 4, 5, 6, 6], "one rank writes the log"
    assert one["genotype"] == run_search(search_config(root)).genotype.hash
    state = final_state(root)["program"]["bilevel"]["net"]
    assert digest(state) == digest(one["net"])
    alone = run_search(search_config(root / "alone"), until=1).metrics
    assert not alone
    first = read_metrics(root / "alone" / "run" / "metrics.jsonl")[0]
    # The alphas' first batch meets the same weights; only batch norm sees halves of it.
    assert rows[0]["alpha/loss"] == pytest.approx(first["alpha/loss"], rel=0.2)
    assert rows[0]["alpha/loss"] != first["alpha/loss"]


@pytest.mark.parametrize("stop", [2, pytest.param(4, marks=pytest.mark.long)])
def test_a_stopped_search_of_two_ranks_ends_with_the_same_bits(
    tmp_path: Path, whole: tuple[Path, Any], stop: int
) -> None:
    forked(_search(tmp_path, until=stop), tmp_path / "out")
    same(forked(_search(tmp_path), tmp_path / "out"), whole[1])
    same(final_state(tmp_path), final_state(whole[0]))
    rows = [read_metrics(root / "run" / "metrics.jsonl", time=False) for root in (tmp_path, whole[0])]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("rank", "step"), [(1, 4), pytest.param(0, 2, marks=pytest.mark.long), pytest.param(1, 1, marks=pytest.mark.long)]
)
def test_a_killed_rank(
    tmp_path: Path, whole: tuple[Path, Any], rank: int, step: int, promise: Callable[[str, str], None]
) -> None:
    found = forked(_search(tmp_path, kill=(rank, step)), tmp_path / "out")
    assert found[rank] == -signal.SIGKILL
    assert found[1 - rank].startswith("another rank is gone")
    same(forked(_search(tmp_path), tmp_path / "out"), whole[1])
    same(final_state(tmp_path), final_state(whole[0]))
    if (rank, step) == (1, 4):
        promise("two ranks, one killed", "1/1 resumed, both ranks and the uninterrupted run equal")


@pytest.mark.parametrize("method", [pytest.param(name, marks=pytest.mark.long) for name in HYPERGRADIENTS])
def test_every_hypergradient_keeps_ranks_alike(tmp_path: Path, method: str) -> None:
    one, two = forked(_search(tmp_path, method=method), tmp_path / "out")
    same(one, two)


def test_two_ranks_retrain_stop_and_go_on(tmp_path: Path) -> None:
    """With all that draws: dropout, drop path, mixup; and all that follows: the weight average, batch norm."""
    genotype = published("DARTS_V2")

    def work(root: Path, until: int | None = None) -> Callable[[int], Any]:
        def retrain(_: int) -> Any:
            values = {
                **TINY,
                "batch_size": 20,
                "recipe": {"ema": 0.9, "mixup": 0.2, "drop_path": 0.3},
                "network": {"channels": 2, "layers": 3, "drop_rate": 0.2},
                "run": {"root": str(root), "name": "run"},
            }
            found = run_retrain(from_mapping(RetrainConfig, values), genotype=genotype, until=until)
            return found.model.state_dict(), dict(found.metrics)

        return retrain

    one, two = forked(work(tmp_path / "whole"), tmp_path / "out")
    same(one, two)
    assert {"val/top1", "test/top1"} <= one[1].keys()
    forked(work(tmp_path, until=2), tmp_path / "out")
    same(forked(work(tmp_path), tmp_path / "out"), [one, two])
    same(final_state(tmp_path), final_state(tmp_path / "whole"))


def test_a_mistake_is_one_line_on_every_rank(tmp_path: Path) -> None:
    def work(rank: int) -> str:
        try:
            run_search(search_config(tmp_path, batch_size=11))
        except SupernetError as error:
            return str(error)
        return "none"

    assert forked(work, tmp_path / "out") == ["batch_size=11 must be a multiple of the 2 ranks"] * 2
    assert not (tmp_path / "run").exists()


def _workers(launcher: int) -> dict[int, int]:
    """rank -> pid of the processes that a torchrun has started."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == launcher:
                variables = (stat.parent / "environ").read_bytes().split(b"\0")
                found |= {int(v[5:]): int(stat.parent.name) for v in variables if v.startswith(b"RANK=")}
        except OSError:
            continue
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the ranks' processes are found in /proc")
def test_torchrun_restarts_after_a_kill(tmp_path: Path, whole: tuple[Path, Any], root: Path) -> None:
    """The command itself: rank 1 gets SIGKILL amid the search, and `--max-restarts 1` brings it to the same end."""
    overrides = [
        "epochs=2", "batch_size=10", "data.limit=72", "checkpoint.every_steps=1", "log.every=1", "log.progress=false",
        "log.tensorboard=false", "space.args.nodes=2", "network.channels=2", "network.layers=3", "device=cpu",
        f"run.root={tmp_path}", "run.name=run",
    ]  # fmt: skip
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [*launch, "--max-restarts", "1", "-m", "supernet", "search", *overrides]
    out, err = tmp_path / "out", tmp_path / "err"
    with open(out, "wb") as told, open(err, "wb") as logged:
        run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=told, stderr=logged)
    try:
        saved, until = tmp_path / "run" / "checkpoints", time.monotonic() + 60
        workers: dict[int, int] = {}
        while not list(saved.glob("step-*")) and time.monotonic() < until and run.poll() is None:
            workers = workers if len(workers) == WORLD else _workers(run.pid)
            time.sleep(0.002)
        os.kill(workers[1], signal.SIGKILL)
        assert run.wait(200) == 0, err.read_text()[:6000]
    finally:
        if run.poll() is None:
            for pid in [*_workers(run.pid).values(), run.pid]:
                os.kill(pid, signal.SIGKILL)
    assert "resumed at step" in err.read_text()
    assert out.read_text().count("run folder") == 1, "one rank tells"
    ours, theirs = final_state(tmp_path), final_state(whole[0])
    same(ours["program"], theirs["program"])
    same(ours["best"], theirs["best"])
