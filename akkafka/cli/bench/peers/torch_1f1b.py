"""Peer: the same network through torch.distributed.pipelining's 1F1B schedule, a process for each stage, over gloo.

As its documentation has it: every rank holds one stage and steps the schedule on the whole batch, which is cut into
`job.micro_batches`; gradients are added up over them, then each rank's optimizer makes its step, so training is
synchronous. Stages are told the shape of a micro-batch once: an epoch's last, smaller batch is left out.
"""

from __future__ import annotations

import os
import socket
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from akkafka.cli.bench.peers.job import Job, Op, Result, Samples, first_weights
from akkafka.cli.bench.peers.plain import Losses, Params, Stage, first_reaching, validated

START_S = 60.0


def run(job: Job) -> Result:
    """Start the ranks and be rank 0."""
    processes = import_module("torch.multiprocessing")
    context = processes.get_context("spawn")  # a fork would take BLAS's threads half along
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    others = [context.Process(target=rank_work, args=(job, rank, port), daemon=True) for rank in range(1, job.stages)]
    for other in others:
        other.start()
    result = rank_work(job, 0, port)
    for other in others:
        other.join(START_S)
        if other.exitcode:
            raise SystemExit(f"a rank ended with exit code {other.exitcode}")
    result.losses = [float(loss) for loss in np.load(Path(job.folder) / "torch-losses.npy")]
    samples, stages = Samples.of(job), [_trained(job, i) for i in range(job.stages)]
    result.validation_accuracy = validated(stages, samples)
    result.reached = first_reaching(job, stages, [stage.kept for stage in stages], samples)
    return result


def rank_work(job: Job, rank: int, port: int) -> Result:
    """Train stage `rank`; its weights are left in the folder."""
    torch = import_module("torch")
    torch.set_num_threads(job.threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this machine
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=job.stages)
    try:
        return _Rank(torch, job, rank).run()
    finally:
        distributed.destroy_process_group()


class _Rank:
    def __init__(self, torch: Any, job: Job, rank: int) -> None:
        pipelining = import_module("torch.distributed.pipelining")
        self.torch, self.job, self.rank, self.last = torch, job, rank, rank == job.stages - 1
        self.module = module_of(torch, job.layers[rank], first_weights(job)[rank])
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=1.0)
        stage = pipelining.PipelineStage(self.module, rank, job.stages, torch.device("cpu"))
        self.schedule = pipelining.Schedule1F1B(stage, job.micro_batches, loss_fn=torch.nn.functional.cross_entropy)
        self.losses, self.result = Losses(), Result(versions={"torch": torch.__version__, "numpy": np.__version__})

    def run(self) -> Result:
        """All batches of full size."""
        number = 0
        kept: dict[str, Any] = {}
        self.result.begun = time.time_ns()
        for epoch, pixels, targets in Samples.of(self.job).batches(self.job.batch_size):
            if len(targets) < self.job.batch_size:
                continue
            self._batch(number, epoch, pixels, targets)
            number += 1
            self.result.home.append((time.time_ns(), len(targets)))
            if self.job.keep_every and number % self.job.keep_every == 0:
                kept |= {f"{number} {name}": array for name, array in self._weights().items()}
        folder = Path(self.job.folder)
        if self.last:
            np.save(folder / "torch-losses.npy", np.array(self.losses.means()))
        kept |= {f"{number} {name}": array for name, array in self._weights().items()}
        np.savez(folder / f"torch-{self.rank}.npz", **kept)
        self.torch.distributed.barrier()
        return self.result

    def _weights(self) -> Params:
        """Copies: torch's steps write into its arrays."""
        return {name: array.detach().numpy().copy() for name, array in self.module.state_dict().items()}

    def _batch(self, number: int, epoch: int, pixels: Any, targets: Any) -> None:
        torch = self.torch
        losses: list[Any] = []
        self.optimizer.zero_grad()
        if self.rank == 0:
            self.schedule.step(torch.from_numpy(pixels))
        elif self.last:
            self.schedule.step(target=torch.from_numpy(targets), losses=losses)
            mean = float(torch.stack([loss.detach() for loss in losses]).mean())
            self.losses.add(epoch, mean, len(targets))
        else:
            self.schedule.step()
        if self.job.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.job.clip_norm)
        self.optimizer.param_groups[0]["lr"] = self.job.rates[number]
        self.optimizer.step()


def _trained(job: Job, index: int) -> Stage:
    """The stage in numpy, with the weights that its rank has left; the last ones are those at the end."""
    stage = Stage.of(job, index)
    for told, array in np.load(Path(job.folder) / f"torch-{index}.npz").items():
        version, name = told.split(" ")
        ours = np.ascontiguousarray(array.T if array.ndim == 2 else array)
        stage.kept.setdefault(int(version), {})[name] = ours
    stage.params = stage.kept[max(stage.kept)]
    return stage


def module_of(torch: Any, ops: tuple[Op, ...], weights: dict[str, Any]) -> Any:
    """The stage as a torch module, with the job's weights; names of parameters are those of the job."""
    nn = torch.nn

    class Scale(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, scale: float, shift: float) -> None:
            super().__init__()
            self.scale, self.shift = scale, shift

        def forward(self, x: Any) -> Any:
            return x.float() * self.scale + self.shift

    def made(at: int, op: Op) -> Any:
        match op:
            case {"type": "linear"}:
                weight = weights[f"{at}.weight"]
                return _filled(torch, nn.Linear(*weight.shape), weight.T, weights[f"{at}.bias"])
            case {"type": "conv2d", "padding": padding}:
                weight = weights[f"{at}.weight"]
                module = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], padding=padding)
                return _filled(torch, module, weight, weights[f"{at}.bias"])
            case {"type": "max-pool2d", "kernel": kernel}:
                return nn.MaxPool2d(kernel)
            case {"type": "scale", "scale": scale, "shift": shift}:
                return Scale(scale, shift)
            case {"type": "reshape", "shape": shape}:
                return nn.Sequential(nn.Flatten(), nn.Unflatten(1, tuple(shape)))
            case {"type": "flatten"}:
                return nn.Flatten()
        return nn.ReLU()

    return nn.Sequential(*(made(at, op) for at, op in enumerate(ops)))


def _filled(torch: Any, module: Any, weight: Any, bias: Any) -> Any:
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        module.bias.copy_(torch.from_numpy(bias))
    return module
