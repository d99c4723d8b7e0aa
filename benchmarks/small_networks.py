"""Small shipped networks on a processor: bound, samples, labels obeyed.

    python benchmarks/small_networks.py            # about twenty minutes of one core
    python benchmarks/small_networks.py --smoke    # seconds, nothing kept

Of each network the bound on the first test images (with their labels, if it takes some), the
Fréchet distance of 50-step DDIM in the features of the data set's shipped classifier, and, of a
network with labels, how many samples the classifier takes for what was asked. As many real test
images are measured beside the samples, for the distance depends on their number.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from judge import Quality, Setup, device_option, last, quality, samples
from record import Record, provenance, weights_digest
from torch import Tensor

import minidiff as md
from minidiff.data.sets import Images

NETWORKS = {"digits": "digits", "digits_labels": "digits", "fashion": "fashion"}
SAMPLES = {"digits": 297, "fashion": 500}  # of the digits there are no more test images
BOUND = {"digits": 297, "fashion": 32}  # of the clothes an image takes a quarter of a minute
STEPS = 50


def asked(model: md.Denoiser, labels: Tensor) -> dict[str, Any]:
    """What a network is told beside x_t and t."""
    return {"labels": labels} if model.num_classes else {}


def bound(model: md.Denoiser, data: Images, setup: Setup, n: int) -> dict[str, Any]:
    bits = []
    for k, start in enumerate(range(0, n, setup.batch)):
        x0, labels = data.batch(range(start, min(start + setup.batch, n)))
        g = setup.generator(k)
        bits.append(md.bits_per_dim(model, x0, generator=g, **asked(model, labels)))
    found = torch.cat(bits)
    error = found.std() / len(found) ** 0.5
    return {"bits_per_dim": float(found.mean()), "standard_error": float(error)}


def drawn(model: md.Denoiser, data: str, setup: Setup, judge: Quality) -> dict[str, Any]:
    """50 steps of DDIM, with each label as often as the next."""
    c: Any = model.network.config
    shape = (c.in_channels, c.size, c.size)
    labels = torch.arange(setup.batch) % 10

    def walk(x_T: Tensor, g: torch.Generator) -> Tensor:
        return last(md.ddim(model, x_T, STEPS, generator=g, **asked(model, labels)))

    images, seconds = samples(setup, shape, walk)
    found = judge(images) | {"seconds_sampling": round(seconds, 1)}
    if model.num_classes:
        classifier = md.features.Classifier.load(data)
        with torch.inference_mode():
            taken = torch.cat([classifier(x)[1].argmax(1) for x in images.split(500)])
        right = taken == labels.repeat(len(images) // len(labels))
        found["as_asked"] = float(right.double().mean())
    return found


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device_option(p)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", default="small_networks.json")
    p.add_argument("--weights", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    p.add_argument("--smoke", action="store_true", help="few images, nothing kept")
    return p


def main() -> None:
    args = parser().parse_args()
    head = provenance(args.device) | {"seed": args.seed}
    record = Record(None if args.smoke else args.out, head, ["torch", "seed"])
    for data in dict.fromkeys(NETWORKS[name] for name in args.weights):
        n, n_bound = (10, 2) if args.smoke else (SAMPLES[data], BOUND[data])
        setup = Setup(n, n if n < 300 else 100, args.seed, args.device, "fp32")
        test = md.data.load(data, "test", device=args.device)
        judge = quality(args.device, data, "classifier")
        for name in (name for name in args.weights if NETWORKS[name] == data):
            model = md.load_pretrained(name, args.device)
            key = {"weights": name, "weights_sha256": weights_digest(name)}
            how = {"measured": "bound", "n": n_bound}
            record.measure(key | how, partial(bound, model, test, setup, n_bound))
            how = {"measured": "samples", "S": STEPS, "n": n}
            record.measure(key | how, partial(drawn, model, data, setup, judge))
        how = {"data": data, "measured": "real test images", "n": n}
        record.measure(how, partial(judge, test.images[:n]))


if __name__ == "__main__":
    main()
