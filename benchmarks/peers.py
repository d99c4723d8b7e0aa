"""Training recipes for CIFAR-10, ours and three other libraries': one step of each.

"default" is the training script or README of a library, step by step; "tuned" is the same with bf16
autocast, channels-last memory, torch.compile, a fused optimizer, a foreach average, no dropout (as
in ours), and a learning rate that grows with the root of the batch. The networks have about the
same size, 35.7 million parameters, but not the same work per image: both are in the rows. All take
their batches from one uint8 tensor on the device, with random flips: a library's own data loader
could only be slower. The seed is torch's (`torch.initial_seed`). A learning rate that falls, falls
with `share`, the part of the run that is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from record import CONFIGS
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from minidiff.data.sets import Images
from minidiff.denoiser import Denoiser
from minidiff.engine.config import make_config, read_config
from minidiff.engine.distributed import World
from minidiff.engine.ema import EMA
from minidiff.engine.speed import training_flops
from minidiff.engine.trainer import Trainer, best_precision
from minidiff.schedule import Schedule
from minidiff.unet.compat import unet_to_diffusers
from minidiff.unet.network import UNet

CONFIG = CONFIGS / "cifar10_minutes.py"
PACKAGES = ("diffusers", "denoising-diffusion-pytorch", "ema-pytorch", "smalldiffusion")
SMALL = {"width": 32, "mults": (1, 2), "blocks": 1, "attention": ()}


@dataclass
class Recipe:
    """What trains a network, and how our samplers ask it."""

    step: Callable[[], Any]  # one step of the optimizer
    images: int  # that one step takes in this process
    precision: str  # of the products in the step
    net: nn.Module
    model: Denoiser  # the same network under its own noise schedule, in t = 1..T
    use_average: Callable[[], Any]  # puts the averaged weights in place of the last ones
    x0: Callable[[Tensor, int], Tensor] | None = None  # the library's own x_0 from x_t, t in 0..T-1

    def size(self) -> dict[str, int]:
        """Parameters, and floating-point operations of a forward pass of one image."""
        device = next(self.net.parameters()).device
        x, t = torch.zeros(1, 3, 32, 32, device=device), torch.zeros(1, device=device).long()
        # the counter knows attention only where it is made of matrix products
        with torch.compiler.set_stance("force_eager"), sdpa_kernel(SDPBackend.MATH):
            flops = training_flops(self.model.net, x, t) / 3
        parameters = sum(p.numel() for p in self.net.parameters())
        return {"parameters": parameters, "forward_flops_per_image": int(flops)}


class _AsItComes(torch.optim.AdamW):
    """PyTorch's AdamW with its own default, foreach, and without our guard against NaN."""

    _step_supports_amp_scaling = True  # what makes step_unless leave the guard to the optimizer

    def step(self, closure: Any = None) -> Any:
        """`found_inf`, where step_unless says whether a gradient is bad, is put aside."""
        vars(self).pop("found_inf", None)
        return super().step(closure)


def ours(
    rung: str,
    batch: int,
    data: Images,
    world: World,
    small: bool,
    share: Callable[[], float],
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """configs/cifar10_minutes.py with this batch on each GPU; each rung adds one thing.

    Its learning rate at 512 images a GPU, otherwise growing with the root of that number. Settings
    are those of `minidiff train` and take the place of the file's; network_options add to its own.

    "graphs" replays the compiled step as CUDA graphs, which spares the launch of each kernel.
    """
    level = ("plain", "fused", "bf16", "compiled", "graphs").index(rung)
    file = read_config(CONFIG)
    recipe = make_config(settings or {}, file)
    config = replace(
        recipe,
        network_options=file.network_options | recipe.network_options | (SMALL if small else {}),
        seed=torch.initial_seed(),
        batch=batch * world.size,
        lr=recipe.lr * math.sqrt(batch / 512),
        precision="auto" if level >= 2 else "fp32",
        compile=("", "", "", "default", "reduce-overhead")[level],
    )
    trainer = Trainer(config, world, data)

    def rate(n: int) -> float:
        return min(1.0, (n + 1) / config.warmup) * _cosine(share())

    trainer.rate = rate  # type: ignore[method-assign, assignment]
    if rung == "plain":
        trainer.optimizer = _AsItComes(
            trainer.net.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
    batches = trainer.batches()
    return Recipe(
        lambda: trainer.step(batches),
        batch,
        trainer.precision,
        trainer.net,
        trainer.model,
        lambda: trainer.ema.copy_to(trainer.net),
    )


def diffusers(
    rung: str, batch: int, data: Images, world: World, small: bool, share: Callable[[], float]
) -> Recipe:
    """Its train_unconditional.py (batch 16), with the network of google/ddpm-cifar10-32."""
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    tuned = rung == "tuned"
    options = (SMALL if small else {}) | ({"dropout": 0.0} if tuned else {})
    config, _ = unet_to_diffusers(UNet.cifar10(**options))
    net = UNet2DModel.from_config(config).to(world.device)
    lr = 1e-4 * (math.sqrt(batch / 16) if tuned else 1.0)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=lr, betas=(0.95, 0.999), weight_decay=1e-6, fused=tuned or None
    )
    ema = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, power=3 / 4, foreach=tuned)
    ema.to(world.device)
    noising = DDPMScheduler(num_train_timesteps=1000, clip_sample=False)
    draw, half, autocast = _tune(net, tuned, batch, data, world)
    done = 0

    def step() -> None:
        nonlocal done
        x0 = draw()
        eps = torch.randn_like(x0)
        t = torch.randint(0, 1000, (batch,), device=x0.device)
        with autocast():
            out = net(noising.add_noise(x0, eps, t), t).sample
        F.mse_loss(out.float(), eps).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = lr * min(1.0, done / 500) * _cosine(share())
        optimizer.step()
        optimizer.zero_grad()
        ema.step(net.parameters())
        done += 1

    return Recipe(
        step,
        batch,
        half,
        net,
        Denoiser(lambda x, t: net(x, t).sample, Schedule.linear(1000)),
        lambda: ema.copy_to(net.parameters()),
        lambda x, t: noising.step(net(x, t).sample, t, x).pred_original_sample,
    )


def lucidrains(
    rung: str, batch: int, data: Images, world: World, small: bool, share: Callable[[], float]
) -> Recipe:
    """denoising-diffusion-pytorch: the Trainer as its README calls it (32 x 2 images, fp16).

    Not with the README's flash_attn=True, which admits a single kernel that not every GPU and
    precision has. The attention concerned sees 4 x 4 places and takes no time either way.
    """
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA as Average

    tuned, parts = rung == "tuned", 1 if rung == "tuned" else 2
    net = Unet(dim=16 if small else 64, dim_mults=(1, 2) if small else (1, 2, 4, 8))
    diffusion = GaussianDiffusion(net, image_size=32, auto_normalize=False).to(world.device)
    lr = 8e-5 * (math.sqrt(batch / 64) if tuned else 1.0)
    optimizer = torch.optim.Adam(
        diffusion.parameters(), lr=lr, betas=(0.9, 0.99), fused=tuned or None
    )
    ema = Average(diffusion, beta=0.995, update_every=10, use_foreach=tuned).to(world.device)
    draw, half, autocast = _tune(net, tuned, batch, data, world, "fp16")
    scaler = torch.amp.GradScaler(world.device.type, enabled=half == "fp16")

    def step() -> None:
        for _ in range(parts):
            with autocast():
                loss = diffusion(draw()) / parts
            scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        ema.update()

    def x0(x: Tensor, t: int) -> Tensor:
        found = diffusion.model_predictions(x, torch.full((len(x),), t, device=x.device))
        return found.pred_x_start

    return Recipe(
        step,
        batch * parts,
        half,
        net,
        Denoiser(lambda x, t: net(x, t), Schedule.from_betas(diffusion.betas), predict="v"),
        ema.copy_params_from_ema_to_model,
        x0,
    )


def smalldiffusion(
    rung: str, batch: int, data: Images, world: World, small: bool, share: Callable[[], float]
) -> Recipe:
    """Its examples/cifar_unet.py (batch 256).

    The average is ours, with the same warm-up as torch_ema's. The noise levels are drawn on the
    device; its own training loop draws them on the processor, which makes the GPU wait.
    """
    from smalldiffusion import Scaled, ScheduleSigmoid, Unet

    tuned = rung == "tuned"
    shape: dict[str, Any] = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1} if small else {}
    shape |= {"dropout": 0.0} if tuned else {}
    net = Scaled(Unet)(32, 3, 3, **shape).to(world.device)
    lr = 2e-4 * (math.sqrt(batch / 256) if tuned else 1.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, fused=tuned or None)
    ema = EMA(net, 0.9999, warmup=True)
    sigmas = ScheduleSigmoid(N=1000).sigmas.to(world.device)
    draw, half, autocast = _tune(net, tuned, batch, data, world)

    def step() -> None:
        optimizer.zero_grad()
        x0 = draw()
        sigma = sigmas[torch.randint(0, 1000, (batch, 1, 1, 1), device=x0.device)]
        with autocast():
            loss = net.get_loss(x0, sigma, torch.randn_like(x0))
        loss.backward()
        optimizer.step()
        ema.update(net)

    def eps(x: Tensor, t: Tensor) -> Tensor:
        sigma = sigmas[t.long()].reshape(-1, 1, 1, 1)
        return net(x * (1 + sigma**2).sqrt(), sigma)  # it sees x_t / sqrt(alpha_bar_t)

    def x0(x: Tensor, t: int) -> Tensor:
        y = x * (1 + sigmas[t] ** 2).sqrt()
        return y - sigmas[t] * net.predict_eps(y, sigmas[t])

    alpha_bar = F.pad(1 / (1 + sigmas.double() ** 2), (1, 0), value=1.0)
    model = Denoiser(eps, Schedule.from_alpha_bar(alpha_bar))
    return Recipe(step, batch, half, net, model, lambda: ema.copy_to(net), x0)


RECIPES: dict[str, Callable[..., Recipe]] = {
    f.__name__: f for f in (ours, diffusers, lucidrains, smalldiffusion)
}


def parse(job: str) -> tuple[str, str, int]:
    """ "library:rung:batch", checked."""
    library, rung, batch = job.split(":")
    rungs = (
        ("default", "tuned")
        if library != "ours"
        else ("plain", "fused", "bf16", "compiled", "graphs")
    )
    if library not in RECIPES or rung not in rungs:
        raise ValueError(f"{job}: libraries are {', '.join(RECIPES)}, rungs {', '.join(rungs)}")
    return library, rung, int(batch)


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


def _tune(
    net: nn.Module, tuned: bool, batch: int, data: Images, world: World, default: str = "fp32"
) -> tuple[Callable[[], Tensor], str, Callable[[], torch.autocast]]:
    """Images, precision and autocast of a peer's step; "tuned" also compiles the network."""
    device = world.device
    generator = torch.Generator(device).manual_seed(torch.initial_seed())
    half = best_precision("auto", device) if tuned else default if device.type == "cuda" else "fp32"
    layout = torch.channels_last if tuned else torch.contiguous_format
    if tuned:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.compile()

    def draw() -> Tensor:
        return data.batch(batch, generator=generator, flip=True)[0].contiguous(memory_format=layout)

    def autocast() -> torch.autocast:
        dtype = torch.float16 if half == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype, enabled=half != "fp32")

    return draw, half, autocast
