"""Chapters 7 and 17: one training step, and the state it hands on, on a laptop or several GPUs.

`Trainer.step` is the whole of training (Ho et al. 2020, algorithm 1); `minidiff.train` is the loop.
No step waits for the GPU to report back (with FSDP2 each part waits until all processes have their
data), and every step draws its randomness from (seed, step, rank) alone, so a resumed run is the
same run.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minidiff.bound import prior_kl
from minidiff.data.images import count_classes
from minidiff.data.sets import Folder, Images
from minidiff.denoiser import Denoiser
from minidiff.engine import checkpoint
from minidiff.engine.compiled import compile_mode, compiled, kept_gradients
from minidiff.engine.config import Loss, Times, TrainConfig, make_model
from minidiff.engine.distributed import World, copies, fill, shards, whole
from minidiff.engine.ema import EMA
from minidiff.engine.generate import in_turn
from minidiff.engine.guard import step_unless
from minidiff.engine.order import data_order, mix
from minidiff.engine.resume import check_same_run, describe_run
from minidiff.engine.runlog import Meter
from minidiff.losses import loss_gamma, loss_hybrid, loss_simple, loss_vlb
from minidiff.samplers import ddim
from minidiff.schedule import Schedule
from minidiff.spacing import tau
from minidiff.timesteps import (
    BoundTimes,
    LogNormalTimes,
    LossAwareTimes,
    StratifiedTimes,
    UniformTimes,
)
from minidiff.weighting import weights_min_snr

LOSSES: dict[Loss, Callable[[Schedule, torch.device], Callable[..., Tensor]]] = {
    "simple": lambda *_: loss_simple,
    "gamma": lambda *_: loss_gamma,
    "min-snr": lambda schedule, device: functools.partial(
        loss_gamma, weights=weights_min_snr(schedule).to(device)
    ),
    "vlb": lambda *_: loss_vlb,
    "hybrid": lambda *_: loss_hybrid,
}
TIMES: dict[Times, Callable[[Schedule], Any]] = {
    "uniform": lambda schedule: UniformTimes(schedule.T),
    "stratified": lambda schedule: StratifiedTimes(schedule.T),
    "loss-aware": lambda schedule: LossAwareTimes(schedule.T),
    "bound": BoundTimes,
    "log-normal": LogNormalTimes,
    "logit-normal": lambda schedule: LogNormalTimes(schedule, mean=0.0, std=1.0),
}


class Trainer:
    """A model, its average, its optimizer and its data, on one process of `world`."""

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        data: Images | Folder,
        model: Denoiser | None = None,
    ) -> None:
        c, device = config, world.device
        if c.batch % (world.size * c.accumulate):
            raise ValueError(
                f"batch = {c.batch} must be a multiple of processes x accumulate = "
                f"{world.size} x {c.accumulate}"
            )
        self.config, self.world, self.data = c, world, data
        self.steps_done = 0

        # The model: fresh weights, or those of init.
        torch.manual_seed(c.seed)
        self.model = model or make_model(c, data.shape, count_classes(data.classes))
        if c.init:
            checkpoint.load_weights(c.init, self.model)
        self.in_parts = c.fsdp and world.size > 1
        self.plain = copy.deepcopy(self.model.net).cpu() if self.in_parts else None
        self.model.to(device).train()
        self.net: nn.Module = self.model.net
        if self.in_parts:
            shards(self.net)
        self.labelled = bool(self.model.num_classes)

        # What learns: the same weights, seen through torch.compile and DDP.
        self.mode = compile_mode(c, world)
        wrapped = compiled(self.net, self.mode)
        self.wrapped: Any = wrapped if c.fsdp else copies(wrapped, world)
        self.learner = Denoiser(self.wrapped, self.model.schedule, **self.model.conventions)
        self.loss = LOSSES[c.loss](self.model.schedule, device)
        self.times = TIMES[c.times](self.model.schedule)

        # What changes the weights.
        self.weights = list(self.net.parameters())  # to walk through the modules once is enough
        self.keeps = kept_gradients(self.weights, self.mode, c.accumulate)
        self.optimizer: Any = torch.optim.AdamW(
            self.weights, lr=c.lr, betas=c.betas, weight_decay=c.weight_decay, fused=True
        )  # with weight_decay = 0 this is Adam
        self.precision = best_precision(c.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.ema = EMA(self.net, c.ema, c.ema_warmup)

        self.generator = torch.Generator(device)
        self.meter = Meter(self.model.schedule, device)
        self.about = describe_run(self.model, c, data)

    def step(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """One step of Ho et al.'s algorithm 1, with Adam, and the moving average after it."""
        c = self.config

        # Randomness: every random number of this step follows from (seed, step, rank).
        seed = mix(c.seed, self.steps_done, self.world.rank)
        torch.manual_seed(seed)  # for dropout
        self.generator.manual_seed(seed)  # for everything else

        # Gradient: that of the mean of w * loss over the batch, in one part or more.
        for part in range(c.accumulate):
            if self.mode:  # what a CUDA graph wrote before is done with
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            x0, labels = next(batches)
            t, w = self.times.sample(len(x0), device=x0.device, generator=self.generator)
            cond = {"labels": labels} if self.labelled else {}
            with self.sync_gradients(part == c.accumulate - 1):
                with self.autocast():
                    # draws eps, makes x_t, asks the network, and compares, image by image
                    losses = self.loss(self.learner, x0, t, generator=self.generator, **cond)
                weighted = w * losses
                self.scaler.scale(weighted.mean() / c.accumulate).backward()
            self.meter.add_losses(t, weighted.detach(), losses.detach())
            if isinstance(self.times, LossAwareTimes):
                self.times.update(self.world.gather(t), self.world.gather(losses.detach()))

        # Clipping: a gradient longer than clip_grad is shortened; one that isn't finite is bad.
        self.scaler.unscale_(self.optimizer)
        norm = whole(nn.utils.clip_grad_norm_(self.weights, c.clip_grad or math.inf))
        bad = (~norm.isfinite()).float()

        # Update: one step of the optimizer, or none if the gradient is bad.
        for group in self.optimizer.param_groups:
            group["lr"] = c.lr * self.rate(self.steps_done)
        step_unless(bad, self.optimizer)
        self.optimizer.zero_grad(set_to_none=not self.keeps)
        self.scaler.update()

        # Average and account.
        self.ema.update(self.net)
        self.meter.add_step(norm, bad)
        self.steps_done += 1

    def rate(self, step: int) -> float:
        """The learning rate of a step as a share of `lr`."""
        c = self.config
        rise = min(1.0, (step + 1) / max(1, c.warmup))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / c.steps))) if c.decay_lr else 1.0
        return rise * fall

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of the data, from the step that comes next, without end."""
        on = self.data.images.device if isinstance(self.data, Images) else torch.device("cpu")
        order: Any = data_order(self.config, len(self.data), self.steps_done, self.world, on)
        return self.data.stream(order, generator=self.generator, flip=self.config.flip)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The networks' products in 16 bits, where the device is good at that."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.world.device.type, dtype=dtype)

    def sync_gradients(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Average gradients over the processes with the last part of a step only."""
        if hasattr(self.wrapped, "set_requires_gradient_sync"):  # FSDP2
            self.wrapped.set_requires_gradient_sync(last)
        elif hasattr(self.wrapped, "no_sync") and not last:  # DDP
            return self.wrapped.no_sync()  # type: ignore[no-any-return]
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Denoiser]:
        """The model with the averaged weights, for evaluation, within a `with` block."""
        self.model.eval()
        with torch.no_grad(), self.ema.averaged(self.net), self.autocast():
            yield self.model
        self.model.train()

    def validate(self, held_out: Images | Folder, n: int = 1024) -> dict[str, float]:
        """Loss and bound (bits/dim, estimated from one t for each image) on held-out images.

        Images, t and noise are the same at every call, so that the numbers can be compared. The n
        images are chosen at random, since every order means something: a folder's its classes.
        """
        n = min(n, len(held_out))
        dice = torch.Generator().manual_seed(self.config.seed)
        chosen = torch.randperm(len(held_out), generator=dice)[:n].sort().values.tolist()
        generator = torch.Generator(self.world.device).manual_seed(self.config.seed)
        t, _ = StratifiedTimes(self.model.schedule.T).sample(
            n, device=self.world.device, generator=generator
        )
        loss, bits = 0.0, 0.0
        with self.averaged() as model:
            for first in range(0, n, 256):
                x0, labels = held_out.batch(chosen[first : first + 256])
                cond = {"labels": labels} if self.labelled else {}
                ts = t[first : first + 256]
                loss += loss_simple(model, x0, ts, generator=generator, **cond).sum().item()
                bits += loss_vlb(model, x0, ts, generator=generator, **cond).sum().item()
                prior = prior_kl(model.schedule, x0) / (math.log(2) * x0[0].numel())
                bits += prior.sum().item()
        return {"val_loss": loss / n, "val_bits_per_dim": bits / n}

    def sample(self, n: int = 64, S: int = 50) -> Tensor:
        """n images by DDIM, always from the same noise."""
        generator = torch.Generator(self.world.device).manual_seed(self.config.seed)
        x_T = torch.randn(n, *self.data.shape, generator=generator, device=self.world.device)
        labels = in_turn(range(n), self.model.num_classes).to(x_T.device) if self.labelled else None
        cond: dict[str, Any] = {"labels": labels} if self.labelled else {}
        with self.averaged() as model:
            *_, last = ddim(model, x_T, tau(model.schedule, S=min(S, model.schedule.T)), **cond)
        return last.x

    def finished(self) -> Denoiser:
        """The model with the averaged weights, whole on each process. (All of them must ask.)"""
        self.ema.copy_to(self.net)
        if self.plain is not None:
            self.plain.load_state_dict({k: whole(v) for k, v in self.net.state_dict().items()})
            self.model.net = self.plain.to(self.world.device)
        return self.model.eval()

    def state(self) -> tuple[dict[str, Tensor], checkpoint.Info]:
        """All that `load` needs to go on as if nothing had happened."""
        tensors = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in self.ema.state_dict().items()}
        for name, p in self.net.named_parameters():
            tensors |= {f"adam/{name}/{k}": v for k, v in self.optimizer.state[p].items()}
        if isinstance(self.times, LossAwareTimes):
            tensors |= {f"times/{k}": v for k, v in self.times.state_dict().items()}
        tensors["skipped"] = self.meter.skipped
        info = {**self.about, "step": self.steps_done, "scaler": self.scaler.state_dict()}
        return {k: whole(v) for k, v in tensors.items()}, info

    @torch.no_grad()
    def load(self, path: Path) -> checkpoint.Info:
        """Take up a state saved by another process, or by more or fewer; returns its info."""
        tensors, info = checkpoint.read(path)
        part = functools.partial(checkpoint.part, tensors)

        # Refuse the state of another network, or of another process of noising and learning.
        net = part("net/")
        check_same_run(info, self.about, path)
        checkpoint.check_architecture(self.net, net, path)
        checkpoint.check_moments(self.net, tensors, path)
        checkpoint.check_tensor(tensors, "skipped", self.meter.skipped.shape, path)

        # The weights and their averages.
        for name, value in self.net.state_dict().items():
            fill(value, net[name])
        self.ema.load_state_dict(part("ema/"))

        # Adam's moments.
        for name, p in self.net.named_parameters():
            saved = part(f"adam/{name}/")
            moments = {k: torch.zeros_like(p) for k in saved if k != "step"}
            for k, m in moments.items():
                fill(m, saved[k])
            if saved:
                self.optimizer.state[p] = {"step": saved["step"].to(p.device), **moments}

        # Where the run was.
        history = part("times/")  # none, if t was drawn in another way so far
        if isinstance(self.times, LossAwareTimes) and history:
            self.times.load_state_dict(history)
        if info["scaler"]:
            self.scaler.load_state_dict(info["scaler"])
        self.meter.skipped.copy_(tensors["skipped"])
        self.steps_done = info["step"]
        return info


def best_precision(wish: str, device: torch.device) -> str:
    """What "auto" means here: bf16 where the GPU has it, fp16 on older ones, fp32 elsewhere."""
    if wish != "auto":
        return wish
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
