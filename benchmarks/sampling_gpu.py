"""How long do 50,000 images take on one GPU? Ours, and diffusers' with the very same weights.

    python benchmarks/sampling_gpu.py             # CIFAR-10, Inception: downloaded
    python benchmarks/sampling_gpu.py --smoke     # a tiny random network on any machine, no FID

"tuned" is bfloat16 autocast, channels-last memory and torch.compile; "default" is float32 as
PyTorch comes (TF32 in convolutions). `seconds` is measured over all n images, noise and the copy to
the host included, after one batch whose time (with the compilation) is in `seconds_first_batch`.
Ours, tuned, at full --n also get their FID-768; all others draw --peer-n images, and their
`seconds_for_50000` is extrapolated.
Rows already in the file (same weights and seed) are not measured again.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from judge import Quality, Setup, last, quality
from record import Record, provenance, weights_digest
from torch import Tensor, nn

import minidiff as md
from minidiff.data.images import to_uint8
from minidiff.unet.compat import unet_to_diffusers

Walk = Callable[[int, torch.Generator], Tensor]  # (batch size, generator) -> images in [-1, 1]
SAME = 1e-3  # float32: two programs may differ by this much in [-1, 1], 1/8 of a grey level


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    Setup.options(result, n=50_000, batch=1000)
    result.add_argument("--peer-n", type=int, default=2000)
    result.add_argument("--smoke", action="store_true", help="does the script run?")
    result.add_argument("--out", default="cifar10_sampling.json")
    return result


def main() -> None:
    """The rows, the cheap and important ones first."""
    args = parser().parse_args()
    torch.backends.cudnn.benchmark = True
    if args.smoke:
        args.n, args.peer_n, args.batch = 2, 2, 2
    full = Setup.of(args)
    few = replace(full, n=args.peer_n)
    head = provenance(full.device, "diffusers") | {"seed": full.seed}
    if args.smoke:
        model, table, judge = tiny(), Record(None, head, same=()), None
    else:
        head |= {"weights": "cifar10", "weights_sha256": weights_digest("cifar10")}
        same = ("weights_sha256", "seed", "hardware", "torch")
        table, judge = Record(args.out, head, same), quality(full.device)
        model = md.load_pretrained("cifar10", device=full.device)
    tuned = copy.deepcopy(model)
    tuned.net = faster(tuned.net, full.device)

    def measure(
        program: str, mode: str, sampler: str, S: int, setup: Setup, walk: Walk, judge: Any = None
    ) -> None:
        key = {"program": program, "mode": mode, "sampler": sampler, "NFE": S, "n": setup.n}
        precise = replace(setup, precision="bf16" if mode == "tuned" else "fp32")
        table.measure(key, lambda: timed(precise, S, walk, judge))

    most = 3 if args.smoke else 100  # network calls an image

    def in_full(sampler: str, S: int) -> None:
        S = min(S, most)
        measure("minidiff", "tuned", sampler, S, full, ours(tuned, sampler, S), judge)

    peers = {}
    with torch.no_grad():
        try:
            peers = {m: peer_network(model, m, full.device) for m in ("default", "tuned")}
        except (ImportError, RuntimeError) as error:  # their lazy imports fail with a RuntimeError
            print(f"diffusers is left out: {error}", flush=True)
        for sampler, S in (("ddim", 10), ("ddim", 20), ("dpm++", 10), ("dpm++", 20), ("ddim", 50)):
            in_full(sampler, S)
        if peers:
            check = replace(full, n=min(8, full.batch))
            key = {"check": "same x_T, same images", "S": 20, "n": check.n}
            table.measure(key, lambda: difference(model, peers["default"], check, key["S"]))
        settings = (
            ("ddim", 10),
            ("ddim", 50),
            ("dpm++", 10),
            ("ddim", 20),
            ("dpm++", 20),
            ("ddim", 100),
        )
        for sampler, S in settings:
            S = min(S, most)
            for mode, net in peers.items():
                measure("diffusers", mode, sampler, S, few, theirs(net, sampler, S))
            measure("minidiff", "default", sampler, S, few, ours(model, sampler, S))
        in_full("ddim", 100)


# --------------------------------------------------------------------------- the two programs


def ours(model: md.Denoiser, sampler: str, S: int) -> Walk:
    """DDIM (eta = 0) on even steps, or DPM-Solver++(2M) on steps even in log-SNR; S calls each."""
    c = model.net.config
    device = next(model.net.parameters()).device

    def walk(n: int, g: torch.Generator) -> Tensor:
        x_T = torch.randn(n, c.in_channels, c.size, c.size, generator=g, device=device)
        if sampler == "ddim":
            return last(md.ddim(model, x_T, md.tau(model.schedule, S=S)))
        steps = md.tau(model.schedule, S=S, spacing="logsnr")
        return last(md.solve(model, x_T, steps, "dpm++", clip=model.clip))

    return walk


def peer_network(model: md.Denoiser, mode: str, device: str) -> nn.Module:
    """diffusers' UNet2DModel with our weights."""
    from diffusers import DDIMPipeline, UNet2DModel  # noqa: F401  the pipelines fail here if at all

    config, state = unet_to_diffusers(model.net)
    net = UNet2DModel.from_config(config)
    net.load_state_dict(state)
    net = net.to(device).eval()
    return net if mode == "default" else faster(net, device)


def theirs(net: nn.Module, sampler: str, S: int) -> Walk:
    """Their pipelines as they come, but with arrays for PIL images and without the progress bar.

    DDIM in their default ("leading") spacing, with eps derived again from the clipped x0, as ours
    does. DPM-Solver++(2M) on their log-SNR grid; the unconditional pipeline takes any scheduler.
    """
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DPMSolverMultistepScheduler

    options: dict[str, Any] = {"num_inference_steps": S, "output_type": "np"}
    if sampler == "ddim":
        pipeline = DDIMPipeline(net, DDIMScheduler())
        options["use_clipped_model_output"] = True
    else:
        pipeline = DDPMPipeline(
            net, DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02, use_lu_lambdas=True)
        )
    pipeline.set_progress_bar_config(disable=True)

    def walk(n: int, g: torch.Generator) -> Tensor:
        images = pipeline(batch_size=n, generator=g, **options).images
        return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1

    return walk


# --------------------------------------------------------------------------- measuring


def faster(net: nn.Module, device: str) -> nn.Module:
    """The network in channels-last memory, compiled."""
    backend = "inductor" if device.startswith("cuda") else "eager"
    return torch.compile(net.to(memory_format=torch.channels_last), backend=backend)


def timed(setup: Setup, S: int, walk: Walk, judge: Quality | None) -> dict[str, Any]:
    """Seconds of n images of S network calls each, in batches, and what `judge` says of them."""
    cuda = setup.device.startswith("cuda")

    def batch(k: int) -> Tensor:
        images = to_uint8(walk(setup.batch, setup.generator(k)))
        return images.cpu()  # the copy also waits for the GPU

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with setup.autocast():
        start = time.perf_counter()
        batch(0)
        first = time.perf_counter() - start
        start = time.perf_counter()
        images = torch.cat([batch(k) for k in range(setup.n // setup.batch)])
        seconds = time.perf_counter() - start
    row: dict[str, Any] = {
        "batch": setup.batch,
        "seconds": seconds,
        "seconds_first_batch": first,
        "images_times_NFE_per_s": setup.n * S / seconds,
        "seconds_for_50000": seconds / setup.n * 50_000,
        "extrapolated": setup.n != 50_000,
    }
    if cuda:
        row["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row | (judge(images.to(setup.device)) if judge else {})


def difference(model: md.Denoiser, net: nn.Module, setup: Setup, S: int) -> dict[str, Any]:
    """The largest difference between our DDIM and theirs in float32, on their steps.

    Both draw x_T with the same generator; theirs starts at "leading" steps, so here ours does.
    """
    c = model.net.config
    g, again, n = setup.generator(), setup.generator(), setup.n
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        x_T = torch.randn(n, c.in_channels, c.size, c.size, generator=g, device=setup.device)
        mine = last(md.ddim(model, x_T, md.tau(model.schedule, S=S, spacing="leading")))
        other = theirs(net, "ddim", S)(n, again)
    largest = float((mine.clamp(-1, 1).cpu() - other).abs().max())
    return {"max_abs_difference": largest, "range": [-1, 1], "same": largest < SAME}


def tiny() -> md.Denoiser:
    """A random network of the CIFAR-10 one's kind."""
    torch.manual_seed(0)
    config = md.UNetConfig(
        size=16, width=8, mults=(1, 2), blocks=1, attention=(8,), groups=8, dropout=0.0
    )
    return md.Denoiser(md.UNet(config).eval(), md.Schedule.linear(1000))


if __name__ == "__main__":
    main()
