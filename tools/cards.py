"""Write the measured part of each model card, minidiff/weights/NAME.md, from results/.

    python tools/cards.py            write
    python tools/cards.py --check    only say what is out of date

The rest of a card is written by hand. `minidiff info NAME` prints it, and the book's page of
networks holds them all. A row that was measured with other weights than those that ship is refused.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from chapters import ROOT, between, settle
from measured import stored

sys.path.insert(0, str(ROOT / "benchmarks"))
from record import weights_digest

from minidiff.data.creature_set import SIZES
from minidiff.engine.checkpoint import read_info

WEIGHTS = ROOT / "minidiff" / "weights"


def rows(result: str, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """Of a result, those of this network's present weights with what is wanted."""
    whole = stored(result)
    own = whole.get("weights_sha256")
    found = [row for row in whole["rows"] if wanted.items() <= row.items()]
    kept = [r for r in found if r.get("weights_sha256", r.get("sha256", own)) == digest(name)]
    if not kept:
        raise SystemExit(f"results/{result}.json has nothing of the weights {name} that ship")
    return kept


@cache  # each row of a result is asked for it
def digest(name: str) -> str:
    return weights_digest(WEIGHTS / f"{name}.safetensors")


def give(value: float, error: float | None = None, digits: int = 3) -> str:
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")


def large() -> list[str]:
    """Of the network of the paper."""
    name, run = "cifar10", stored("cifar10_training")
    (bound,) = rows("cifar10_nll", name, split="test")
    (train,) = rows("cifar10_nll", name, split="train")
    (ode,) = rows("cifar10_likelihood", name)
    (floor,) = stored("cifar10_floor")["rows"]  # of images, not of a network
    ddim = rows("cifar10_ddim", name, tau="linear")
    bits = {v: (bound[v]["bits_per_dim"], bound[v]["standard_error"]) for v in ("small", "large")}
    lines = [
        f"- {run['images'] / 1e6:.1f} million images seen, in {run['gpu_hours']:.2f} GPU-hours.",
        f"- Bound on {bound['n']:,} test images: {give(*bits['small'])} bits/dim with variance β̃, "
        f"{give(*bits['large'])} with β; on as many training images "
        f"{give(train['small']['bits_per_dim'])} and {give(train['large']['bits_per_dim'])}.",
        f"- By the ODE on {ode['n']:,} test images: "
        f"{give(ode['bits_per_dim'], ode['standard_error'])} bits/dim.",
        f"- FID-768 of {floor['n']:,} test images: {give(floor['FID-768'], digits=4)} (precision "
        f"{floor['precision']:.2f}, recall {floor['recall']:.2f}).",
    ]
    for row in ddim:
        if (row["S"], row["eta"]) in ((10, 0.0), (50, 0.0), (1000, 1.0), (1000, "hat")):
            lines.append(quality("DDIM, S = {S}, η = {eta}".format(**row), row))
    for row in rows("cifar10_solvers", name, method="dpm++"):
        if row["NFE"] in (10, 20):
            lines.append(quality("DPM-Solver++ in {NFE} calls".format(**row), row))
    return lines


def quality(what: str, row: dict[str, Any]) -> str:
    """FID-768 with those that tell apart what it mixes."""
    return (
        f"- {what}: FID-768 {give(row['FID-768'])} (precision {row['precision']:.2f}, recall "
        f"{row['recall']:.2f}, density {row['density']:.2f}, coverage {row['coverage']:.2f}; "
        f"{row['n_samples']:,} samples)."
    )


def seen(name: str, learned: int) -> str:
    """How much it was trained, by its own file, on so many images."""
    card = read_info(WEIGHTS / f"{name}.safetensors")["card"]
    steps, batch = card["step"], card["config"]["batch"]
    took = (
        f" and {card['seconds'] / 60:.1f} minutes of {card['hardware']}"
        if "seconds" in card
        else ""
    )
    return (
        f"- {steps * batch:,} images seen, in {steps:,} steps of {batch}{took}: each of the "
        f"{learned:,} training images {steps * batch / learned:.1f} times."
    )


def small(name: str) -> list[str]:
    """Of the pair of chapter 10."""
    (row,) = rows("cifar10_iddpm", name, weights=name)
    variances = {"small": "with variance β̃", "large": "with β", "learned": "with its own variance"}
    bits = [
        f"{give(v['bits_per_dim'], v['standard_error'])} bits/dim {variances[k]}"
        for k, v in row["nll"].items()
        if k in variances
    ]
    seen = f"{row['images'] / 1e6:.1f} million images seen, in {row['seconds'] / 60:.1f} minutes"
    lines = [
        f"- {seen} of one {row['trained_on']}, which it shared with four other runs.",
        f"- Bound on {row['n_nll']} test images: {', '.join(bits)}.",
    ]
    return lines + [quality(f"{how}, {row['S']} steps", q) for how, q in row["samples"].items()]


def grey(name: str) -> list[str]:
    """Of the networks of digits and of clothes."""
    (bound,) = rows("small_networks", name, weights=name, measured="bound")
    (drawn,) = rows("small_networks", name, weights=name, measured="samples")
    real = next(
        row
        for row in stored("small_networks")["rows"]
        if row["measured"] == "real test images" and row["reference"] == drawn["reference"]
    )
    distance = "Fréchet distance (classifier features)"
    lines = [
        seen(name, drawn["n_reference"]),
        f"- Bound on {bound['n']} test images: "
        f"{give(bound['bits_per_dim'], bound['standard_error'])} bits/dim.",
        f"- Fréchet distance in the features of the shipped classifier, DDIM in {drawn['S']} "
        f"steps, {drawn['n']} samples: {give(drawn[distance], digits=1)}; as many test images: "
        f"{give(real[distance], digits=1)}.",
        f"- Precision {drawn['precision']:.2f}, recall {drawn['recall']:.2f}, density "
        f"{drawn['density']:.2f}, coverage {drawn['coverage']:.2f}; of the test images "
        f"{real['precision']:.2f}, {real['recall']:.2f}, {real['density']:.2f}, "
        f"{real['coverage']:.2f}.",
    ]
    if "as_asked" in drawn:
        lines += [f"- The classifier takes {drawn['as_asked']:.1%} of them for what was asked."]
    return lines


def creatures(name: str) -> list[str]:
    """Of the network of creatures: `read` knows the truth of each sample."""
    lines = [seen(name, SIZES["train"])]
    most = max(row["n"] for row in rows(name, name))
    for row in rows(name, name, n=most, eta=0.0):
        if row["what"] == "free":
            limit = stored(name)["whole_up_to_distance"]
            lines += [
                f"- {row['n']:,} samples of DDIM in {row['S']} steps, without labels: "
                f"{row['whole']:.0%} whole, as near to a drawing as noise of one grey level leaves "
                f"it (distance {limit:.1f}), {row['whole_to_4_levels']:.0%} within four times "
                f"that; half are within {row['distance_quantiles']['0.5']:.1f}.",
                f"- {row['new']:.0%} of the combinations are not in the training set "
                f"({row['new_if_drawn_from_the_data']:.0%} if drawn from its distribution).",
                f"- {row['kinds_within_3_errors']} of {row['kinds']} kinds of ears, furs and so on "
                "come as often as in the data, within three standard errors; the farthest is "
                f"{row['most_errors']:.1f} off.",
            ]
        else:
            which = "seen in training" if row["what"] == "seen" else "withheld from training"
            lines += [
                f"- Asked for combinations {which}, w = {row['w']:.0f}: {row['all_as_asked']:.1%} "
                f"are in all seven factors what was asked, {row['whole']:.0%} are whole."
            ]
    return lines


MEASURED = {
    "cifar10": large,
    "cifar10_small": lambda: small("cifar10_small"),
    "cifar10_small_hybrid": lambda: small("cifar10_small_hybrid"),
    **{name: (lambda name=name: creatures(name)) for name in ("creatures", "creatures16")},
    **{name: (lambda name=name: grey(name)) for name in ("digits", "digits_labels", "fashion")},
}


def main() -> int:
    wanted = {}
    for name, measured in MEASURED.items():
        card = WEIGHTS / f"{name}.md"
        text = card.read_text(encoding="utf-8")
        wanted[card] = between("measured", text, "\n".join(measured()))
    return settle(wanted)


if __name__ == "__main__":
    sys.exit(main())
