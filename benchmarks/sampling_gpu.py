"""How long do 50,000 images take on one GPU? Ours, and diffusers' with the very same weights.

    python benchmarks/sampling_gpu.py             # needs $MINIDIFF_DATA: cifar10, inception768/
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
import importlib.metadata
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from tables import Table, autocast, quality
from torch import Tensor, nn

import minidiff as md
from minidiff.data.images import to_uint8
from minidiff.engine.checkpoint import save_weights
from minidiff.unet.compat import unet_to_diffusers

Walk = Callable[[int, torch.Generator], Tensor]  # (batch size, generator) -> images in [-1, 1]
SAME = 1e-3  # float32: two programs may differ by this much in [-1, 1], 1/8 of a grey level


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--peer-n", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="does the script run?")
    parser.add_argument("--out")
    args = parser.parse_args()
    args.weights, args.data, args.table = "cifar10", "cifar10", "sampling"
    args.extractor = "inception768"
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        if args.smoke:
            args.n, args.peer_n, args.batch = 4, 2, 2
            args.weights = tiny_weights(folder)
            args.out = f"{folder}/sampling.json"
        if args.n % args.batch or args.peer_n % args.batch:
            parser.error("--n and --peer-n must be multiples of --batch")
        measure_all(args)


def measure_all(args: argparse.Namespace) -> None:
    """The rows, the cheap and important ones first."""
    table = Table(args)
    model = md.load_pretrained(args.weights, device=args.device)
    tuned = copy.deepcopy(model)
    tuned.net = faster(tuned.net, args)
    judge = None if args.smoke else quality(args)

    def measure(
        program: str, mode: str, sampler: str, S: int, n: int, walk: Walk, judge: Any = None
    ) -> None:
        key = {"program": program, "mode": mode, "sampler": sampler, "NFE": S, "n": n}
        table.measure(key, lambda: timed(args, mode, n, S, walk, judge))

    def in_full(sampler: str, S: int) -> None:
        measure("minidiff", "tuned", sampler, S, args.n, ours(tuned, sampler, S), judge)

    peers = {}
    try:
        peers = {mode: peer_network(model, mode, args) for mode in ("default", "tuned")}
        table.head["versions"]["diffusers"] = importlib.metadata.version("diffusers")
    except (ImportError, RuntimeError) as error:  # their lazy imports fail with a RuntimeError
        print(f"diffusers is left out: {error}", flush=True)
    for sampler, S in (("ddim", 10), ("ddim", 20), ("dpm++", 10), ("dpm++", 20), ("ddim", 50)):
        in_full(sampler, S)
    if peers:
        key = {"check": "same x_T, same images", "S": 20, "n": min(8, args.batch)}
        table.measure(key, lambda: difference(model, peers["default"], key["n"], key["S"], args))
    settings = (
        ("ddim", 10),
        ("ddim", 50),
        ("dpm++", 10),
        ("ddim", 20),
        ("dpm++", 20),
        ("ddim", 100),
    )
    for sampler, S in settings:
        for mode, net in peers.items():
            measure("diffusers", mode, sampler, S, args.peer_n, theirs(net, sampler, S))
        measure("minidiff", "default", sampler, S, args.peer_n, ours(model, sampler, S))
    in_full("ddim", 100)


# --------------------------------------------------------------------------- the two programs


def ours(model: md.Denoiser, sampler: str, S: int) -> Walk:
    """DDIM (eta = 0) on even steps, or DPM-Solver++(2M) on steps even in log-SNR; S calls each."""
    c = model.net.config
    device = next(model.net.parameters()).device

    def walk(n: int, g: torch.Generator) -> Tensor:
        x_T = torch.randn(n, c.in_channels, c.size, c.size, generator=g, device=device)
        if sampler == "ddim":
            *_, last = md.ddim(model, x_T, md.tau(model.schedule, S=S))
        else:
            steps = md.tau(model.schedule, S=S, spacing="logsnr")
            *_, last = md.solve(model, x_T, steps, "dpm++", clip=model.clip)
        return last.x

    return walk


def peer_network(model: md.Denoiser, mode: str, args: argparse.Namespace) -> nn.Module:
    """diffusers' UNet2DModel with our weights."""
    from diffusers import DDIMPipeline, UNet2DModel  # noqa: F401  the pipelines fail here if at all

    config, state = unet_to_diffusers(model.net)
    net = UNet2DModel.from_config(config)
    net.load_state_dict(state)
    net = net.to(args.device).eval()
    return net if mode == "default" else faster(net, args)


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


def faster(net: nn.Module, args: argparse.Namespace) -> nn.Module:
    """The network in channels-last memory, compiled."""
    backend = "inductor" if args.device.startswith("cuda") else "eager"
    return torch.compile(net.to(memory_format=torch.channels_last), backend=backend)


def timed(
    args: argparse.Namespace,
    mode: str,
    n: int,
    S: int,
    walk: Walk,
    judge: Callable[[Tensor], dict[str, Any]] | None,
) -> dict[str, Any]:
    """Seconds of n images of S network calls each, in batches, and what `judge` says of them."""
    cuda = args.device.startswith("cuda")
    args.precision = "bf16" if mode == "tuned" else "fp32"  # for autocast

    def batch(k: int) -> Tensor:
        g = torch.Generator(args.device).manual_seed(args.seed * 1_000_003 + k)
        return to_uint8(walk(args.batch, g)).cpu()  # the copy also waits for the GPU

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with autocast(args):
        start = time.perf_counter()
        batch(0)
        first = time.perf_counter() - start
        start = time.perf_counter()
        images = torch.cat([batch(k) for k in range(n // args.batch)])
        seconds = time.perf_counter() - start
    row: dict[str, Any] = {
        "batch": args.batch,
        "seconds": seconds,
        "seconds_first_batch": first,
        "images_times_NFE_per_s": n * S / seconds,
        "seconds_for_50000": seconds / n * 50_000,
        "extrapolated": n != 50_000,
    }
    if cuda:
        row["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row | (judge(images.to(args.device)) if judge else {})


def difference(
    model: md.Denoiser, net: nn.Module, n: int, S: int, args: argparse.Namespace
) -> dict[str, Any]:
    """The largest difference between our DDIM and theirs in float32, on their steps.

    Both draw x_T with the same generator; theirs starts at "leading" steps, so here ours does.
    """
    c = model.net.config
    g, again = (torch.Generator(args.device).manual_seed(args.seed) for _ in range(2))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        x_T = torch.randn(n, c.in_channels, c.size, c.size, generator=g, device=args.device)
        *_, last = md.ddim(model, x_T, md.tau(model.schedule, S=S, spacing="leading"))
        other = theirs(net, "ddim", S)(n, again)
    largest = float((last.x.clamp(-1, 1).cpu() - other).abs().max())
    return {"max_abs_difference": largest, "range": [-1, 1], "same": largest < SAME}


def tiny_weights(folder: str) -> str:
    """A file with a random network of the CIFAR-10 one's kind."""
    torch.manual_seed(0)
    config = md.UNetConfig(
        size=32, width=16, mults=(1, 2), blocks=1, attention=(16,), groups=8, dropout=0.0
    )
    model = md.Denoiser(md.UNet(config), md.Schedule.linear(1000))
    save_weights(f"{folder}/tiny.safetensors", model)
    return f"{folder}/tiny.safetensors"


if __name__ == "__main__":
    main()
