"""Does a third order win? DPM-Solver++(3M) beside `solve`'s (2M), at equal network calls.

OMP_NUM_THREADS=1 python benchmarks/order3.py

Root mean square distance to the solution of the same equation from the same x_T (200 steps of
order 2, even in log-SNR; unclipped), for shipped networks and a mixture whose denoiser is exact.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise

import torch
from judge import last
from record import Record, provenance, weights_digest
from torch import Tensor

import minidiff as md
from minidiff.toy import GaussianMixture

SHAPES = {"digits": (32, 1, 8, 8), "cifar10_small": (8, 3, 32, 32), "mixture": (256, 16)}
CALLS = (6, 8, 10, 12, 15, 20, 30)


@torch.no_grad()
def third(model: md.Denoiser, x_T: Tensor, tau: list[float]) -> Tensor:
    """DPM-Solver++(3M): Lu et al.'s code, multistep_dpm_solver_third_update, in x_bar and sigma.

    It begins with an Euler step and one of (2M), and ends with Euler's step to the data.
    """
    sigmas = [model.schedule.sigma_at(t) for t in tau]
    x = x_T * math.sqrt(1 + sigmas[0] ** 2)
    seen: list[tuple[Tensor, float]] = []  # x0 and the step in log sigma that followed it
    for a, b in pairwise(sigmas):
        x0 = md.predict_at(model, x, a).x0
        h = math.log(a / b) if b else math.inf
        phi_1 = b / a - 1
        move = -phi_1 * x0
        if b and seen:
            x1, h0 = seen[-1]
            slope = (x0 - x1) * (h / h0)
            if len(seen) == 1:
                move = -phi_1 * (x0 + slope / 2)
            else:
                x2, h1 = seen[-2]
                before = (x1 - x2) * (h / h1)
                r0, r1 = h0 / h, h1 / h
                second = (slope - before) / (r0 + r1)
                phi_2 = phi_1 / h + 1
                move = move + phi_2 * (slope + r0 * second) - (phi_2 / h - 0.5) * second
        x = b / a * x + move
        seen.append((x0, h))
    return x


def subject(name: str) -> tuple[md.Denoiser, Tensor]:
    """A model and its x_T."""
    g = torch.Generator().manual_seed(0)
    if name != "mixture":
        return md.load_pretrained(name), torch.randn(*SHAPES[name], generator=g)
    schedule = md.Schedule.linear(1000)
    mixture = GaussianMixture(0.6 * torch.randn(10, 16, generator=g), 0.15)
    x_T = torch.randn(*SHAPES[name], generator=g, dtype=torch.float64)
    return md.Denoiser(mixture.net(schedule), schedule, clip=False), x_T


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--weights", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    result.add_argument("--out", default="order3.json")
    return result


def main() -> None:
    """Measure; what is there is not measured again."""
    args = parser().parse_args()
    head = provenance("cpu")
    head["weights_sha256"] = {k: weights_digest(k) for k in SHAPES if k != "mixture"}
    table = Record(args.out, head, same=("weights_sha256",))
    for name in args.weights:
        model, x_T = subject(name)
        fine = last(md.solve(model, x_T, md.tau(model.schedule, 200, "logsnr")))

        def row(tau: list[float]) -> dict[str, float]:
            found = {"2M": last(md.solve(model, x_T, tau)), "3M": third(model, x_T, tau)}  # noqa: B023
            return {k: float((x - fine).square().mean().sqrt()) for k, x in found.items()}  # noqa: B023

        for S in CALLS:
            for kind in ("linear", "logsnr", "karras"):
                tau = md.tau(model.schedule, S, kind)
                key = {"weights": name, "NFE": S, "tau": kind, "n": len(x_T)}
                table.measure(key, lambda tau=tau: row(tau))


if __name__ == "__main__":
    main()
