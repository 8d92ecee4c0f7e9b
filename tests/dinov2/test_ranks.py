"""Several processes (gloo) against one that has the whole batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from curation.dinov2 import ranks
from curation.dinov2.batch import Batch
from curation.dinov2.config import PretrainConfig
from curation.dinov2.losses import Centre, koleo_loss, sinkhorn_knopp
from curation.dinov2.model import build_model
from curation.dinov2.objective import Objective
from curation.dinov2.train import train

from .data.made import shards

WORLD = 2
LOGITS = torch.randn(10, 12, generator=torch.Generator().manual_seed(0))
FEATURES = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
SPLIT = [7, 3]
"""Rows of each rank: not the same number, as masked patches never are."""


def config(centering: str, koleo_all_ranks: bool) -> PretrainConfig:
    return PretrainConfig(
        model={"width": 32, "depth": 2, "heads": 2, "patch": 7, "layerscale": 0.5, "drop_path": 0.0},
        crops={"global_size": 28, "local_size": 14, "local_count": 2},
        dino_head={"prototypes": 20, "hidden": 16, "bottleneck": 8},
        loss={"centering": centering, "koleo_all_ranks": koleo_all_ranks},
    )


def whole_batch() -> Batch:
    g = torch.Generator().manual_seed(2)
    masks = torch.rand(2, 6, 16, generator=g) < 0.3
    masks[:, 3:] = masks[:, 3:] & (torch.arange(16) < 8)  # the second rank has fewer masked patches
    return Batch(torch.randn(2, 6, 3, 28, 28, generator=g), torch.randn(2, 6, 3, 14, 14, generator=g), masks)


def gradients(batch: Batch, settings: PretrainConfig, accumulate: int, parallel: bool) -> dict[str, Tensor]:
    torch.manual_seed(3)
    model = build_model(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    objective = Objective(model, settings.loss, drop_rates=[0.0, 0.0], accumulate=accumulate, parallel=parallel)
    for _ in range(2):
        model.student.zero_grad()
        losses = objective.forward_backward(batch, 0.05, torch.Generator())
    result = {name: p.grad for name, p in model.student.named_parameters() if p.grad is not None}
    return result | {f"loss/{name}": value for name, value in losses.as_dict().items()}


CASES = [
    (centering, shared, pieces)
    for centering in ("centering", "sinkhorn_knopp")
    for shared in (True,)
    for pieces in (1, 3)
]


def work(rank: int) -> dict[str, Tensor]:
    """What each process computes."""
    start = sum(SPLIT[:rank])
    mine = slice(start, start + SPLIT[rank])
    centre = Centre((1, 12))
    result = {"sinkhorn": sinkhorn_knopp(LOGITS[mine], 0.07)}
    result["empty"] = sinkhorn_knopp(LOGITS if rank == 0 else LOGITS[:0], 0.07)
    centre.assign(LOGITS[mine], 0.07)
    result["centre"] = centre.center
    x = FEATURES[mine].clone().requires_grad_()
    result["koleo"] = koleo_loss(x, all_ranks=True).detach()
    (result["koleo gradient"],) = torch.autograd.grad(koleo_loss(x, all_ranks=True), x)
    rows, first = ranks.gather_rows(FEATURES[mine])
    result |= {"rows": rows, "first": torch.tensor(first)}
    (piece,) = [p for i, p in enumerate(whole_batch().pieces(WORLD)) if i == rank]
    for centering, shared, pieces in CASES:
        made = gradients(piece, config(centering, shared), pieces, parallel=True)
        result |= {f"{centering}/{pieces}/{name}": value.detach() for name, value in made.items()}
    return result


def main(folder: str) -> None:
    """Entry of a process started by the fixture."""
    dist.init_process_group("gloo")
    torch.save(work(dist.get_rank()), Path(folder) / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


def launch(code: str, *arguments: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(WORLD):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(WORLD),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-c", code, *arguments]
        processes.append(subprocess.Popen(command, env=os.environ | environment))
    assert [process.wait(timeout=240) for process in processes] == [0] * WORLD


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    launch("import sys; from tests.dinov2.test_ranks import main; main(sys.argv[1])", str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


pytestmark = pytest.mark.slow


def test_sinkhorn_knopp_balances_over_all_ranks(by_rank: list[dict[str, Tensor]]) -> None:
    together = torch.cat([result["sinkhorn"] for result in by_rank])
    torch.testing.assert_close(together, sinkhorn_knopp(LOGITS, 0.07), rtol=1e-4, atol=1e-7)


def test_a_rank_without_samples_does_not_hang_or_count(by_rank: list[dict[str, Tensor]]) -> None:
    torch.testing.assert_close(by_rank[0]["empty"], sinkhorn_knopp(LOGITS, 0.07), rtol=1e-4, atol=1e-7)
    assert by_rank[1]["empty"].shape == (0, 12)


def test_the_centre_is_the_mean_over_all_ranks(by_rank: list[dict[str, Tensor]]) -> None:
    centre = Centre((1, 12))
    centre.assign(LOGITS, 0.07)
    for result in by_rank:
        torch.testing.assert_close(result["centre"], centre.center)


def test_koleo_over_all_ranks_is_that_of_one_batch(by_rank: list[dict[str, Tensor]]) -> None:
    x = FEATURES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(koleo_loss(x), x)
    together = torch.cat([result["koleo gradient"] for result in by_rank])
    for result in by_rank:
        torch.testing.assert_close(result["koleo"], koleo_loss(FEATURES))
    torch.testing.assert_close(together / WORLD, gradient, rtol=1e-4, atol=1e-6)


def test_rows_are_gathered_in_rank_order(by_rank: list[dict[str, Tensor]]) -> None:
    assert [int(result["first"]) for result in by_rank] == [0, SPLIT[0]]
    assert all(torch.equal(result["rows"], FEATURES) for result in by_rank)


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("centering", ["centering", "sinkhorn_knopp"])
def test_two_processes_give_the_gradient_of_one_with_the_whole_batch(
    by_rank: list[dict[str, Tensor]], centering: str, pieces: int
) -> None:
    for name, value in gradients(whole_batch(), config(centering, True), 1, parallel=False).items():
        result = [rank[f"{centering}/{pieces}/{name}"] for rank in by_rank]
        mean = torch.stack(result).mean(dim=0) if name.startswith("loss/") else result[0]
        torch.testing.assert_close(mean, value.detach(), rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


RUN = """
import faulthandler, gc, sys
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
faulthandler.dump_traceback_later(200, exit=True)
from curation.dinov2.config import load_pretrain_config
from curation.dinov2.train import train
end = dist.destroy_process_group
def checked():
    assert not any(isinstance(x, DistributedDataParallel) for x in gc.get_objects()), "its end after the group's hangs"
    end()
dist.destroy_process_group = checked
train(load_pretrain_config(sys.argv[1]))
"""


def test_two_processes_train_log_and_resume_as_one_run(tmp_path: Path) -> None:
    settings = config("sinkhorn_knopp", True).model_dump(mode="json") | {
        "out": str(tmp_path / "run"),
        "device": "cpu",
        "precision": "fp32",
        "data": {"sources": [{"path": str(shards(tmp_path / "shards", [9, 8]))}], "workers": 0},
        "optim": {"epochs": 2, "epoch_length": 3, "batch_size": 2, "accumulate": 2, "warmup_epochs": 0},
        "checkpoint": {"every": 2, "keep": 9},
        "log": {"every": 1},
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(settings))
    launch(RUN, str(path))
    log = tmp_path / "run" / "log.jsonl"
    before = [json.loads(line) for line in log.read_text().splitlines()]
    (tmp_path / "run" / "checkpoints" / "step-00000006.pt").unlink()
    launch(RUN, str(path))
    after = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line.get("loss/total") for line in after] == [line.get("loss/total") for line in before]
    with pytest.raises(Exception, match=r"made by 2 process\(es\), now there are 1"):
        train(PretrainConfig.model_validate(settings))
