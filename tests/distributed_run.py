"""One or several processes train; what test_distributed.py starts.

python tests/distributed_run.py PROCESSES MODE FOLDER [STEPS, RANK or COMMAND …]

PROCESSES: 1, 2, or 1,2

Several are started as by torchrun, but are forks, which need not import PyTorch once more each.
"""

import gc
import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimizer of a process would
from torch import Tensor
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from minidiff.data.sets import Images, load
from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import save_weights
from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import World, copies, processes
from minidiff.engine.generate import Sampling, generate
from minidiff.engine.loop import save, train
from minidiff.engine.signals import noted
from minidiff.engine.trainer import Trainer

CONFIG = TrainConfig(
    network_options={"width": 8, "mults": (1,), "attention": (), "blocks": 1, "dropout": 0.0},
    batch=16,
    steps=6,
    lr=1e-2,
    log_every=2,
    clip_grad=0.1,
    sample_every=0,
    validate_every=0,
)


def fixed_loss(model: Denoiser, x0: Tensor, t: Tensor, **_: Any) -> Tensor:
    """A loss without chance in it, to compare runs with different numbers of processes."""
    steps = torch.full((len(x0),), 7)
    return ((model.net(x0, steps) - x0) ** 2).flatten(1).mean(1)


def joint(folder: Path, world: World, fsdp: bool) -> None:
    """Three steps on the joint batch in two parts; states with names that tell how it was made."""
    trainer = Trainer(replace(CONFIG, fsdp=fsdp, accumulate=2), world, load("digits"))
    trainer.loss = fixed_loss  # type: ignore[assignment]
    batches = trainer.batches()
    for _ in range(3):
        trainer.step(batches)
    trainer.validate(load("digits", "test"), 8)  # gives the weights back
    save(trainer, folder / f"{world.size}{'-fsdp' if fsdp else ''}")
    x = generate(trainer.model.eval(), (1, 8, 8), 10, Sampling(steps=3), world, batch=3)
    if world.main:
        torch.save(x, folder / f"samples-{world.size}{'-fsdp' if fsdp else ''}.pt")


class Deadly(Images):
    """Data that kill their process, or fail, in the second part of the fifth step of a rank."""

    def stream(self, batches: Any, **how: Any) -> Any:
        for k, (x0, labels) in enumerate(super().stream(batches, **how)):
            if k == 9 and os.environ["RANK"] == sys.argv[4]:
                if sys.argv[2] == "fail":
                    raise OSError("a picture cannot be read")
                if sys.argv[2] == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                x0 = x0[:, :0]  # which the network refuses
            yield x0, labels


def main() -> None:
    """Do what the mode says."""
    mode, folder = sys.argv[2], Path(sys.argv[3])
    torch.set_num_threads(1)
    if mode == "joint":
        with processes("cpu") as world, processes("cpu") as again:
            assert again == world  # a group that the caller has started is joined
            joint(folder, world, fsdp=False)
            if world.size > 1:
                joint(folder, world, fsdp=True)
    if mode == "train":
        steps = int(sys.argv[4])
        config = replace(CONFIG, steps=steps, times="loss-aware", T=50, save_every=2)
        train(config, folder, resume=steps > 2, device="cpu", bar=False)
    if mode == "whole":
        model = train(replace(CONFIG, fsdp=True), folder / "run", device="cpu", bar=False)
        if os.environ["RANK"] == "1":
            model(torch.zeros(1, 1, 8, 8), 5)
            save_weights(folder / "alone.safetensors", model)
    if mode == "command":
        from minidiff.cli.parser import main as command

        few = ["--steps", "2", "-n", "4", "--device", "cpu"]
        if code := command([sys.argv[4], "digits", *sys.argv[5:], *few]):
            sys.exit(code)
    if mode == "groups":
        for _ in range(40):
            with processes("cpu") as world:
                net = copies(torch.nn.Linear(2, 2), world)
                net(torch.ones(1, 2)).sum().backward()
                world.mean(torch.ones(3))
            del net  # after its group, as in a training that returns
    if mode in ("die", "fail", "fail-within"):
        digits = load("digits")
        data = Deadly(digits.images, digits.labels, digits.classes)
        config = replace(CONFIG, steps=10**6, accumulate=2, fsdp=mode != "die")
        train(config, folder, data=data, device="cpu", bar=False)


def reported() -> None:
    """As a process of torchrun, which prints how it fails though the launcher ends it then."""
    with noted():
        try:
            main()
        except Exception:
            traceback.print_exc()
            raise


def start(processes: int) -> None:
    """One process as it comes, or several as torchrun's."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="fork",
    )
    if processes > 1:
        elastic_launch(config, reported)()
        return
    child = multiprocessing.get_context("fork").Process(target=main)
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(child.exitcode)


if __name__ == "__main__":
    gc.freeze()  # or each fork would look through all that is imported when it ends
    for number in sys.argv[1].split(","):
        start(int(number))
