"""The measures against independent truth: closed forms, scipy, and loops too slow for real use."""

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as safetensors_load
from safetensors.torch import save

from minidiff.data.sets import Images, load
from minidiff.measure.cache import extract, reference_features
from minidiff.measure.features import Classifier, Inception768
from minidiff.measure.frechet import FrechetStats, frechet_distance
from minidiff.measure.metrics import (
    evaluate,
    inception_score,
    kid,
    precision_recall_density_coverage,
)


def cloud(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stats_of(x: torch.Tensor) -> FrechetStats:
    return FrechetStats().update(x)


def exact(mean: torch.Tensor, cov: torch.Tensor) -> FrechetStats:
    """Statistics of a Gaussian that is known, not sampled: points mean +- columns of a root."""
    d = len(mean)
    root = torch.linalg.cholesky(cov) * math.sqrt((2 * d - 1) / 2)
    return stats_of(torch.cat([mean + root.T, mean - root.T]))


def test_streaming_statistics_equal_numpy_whatever_the_batches():
    x = cloud(500, 7) * 3 + 1e4  # a large mean: the naive sum of squares would lose digits
    for sizes in ([500], [1, 499], [100] * 5, [3, 250, 247]):
        stats = FrechetStats()
        for part in x.split(sizes):
            stats.update(part)
        assert stats.n == 500
        np.testing.assert_allclose(stats.mean, x.numpy().mean(0), rtol=1e-14)
        np.testing.assert_allclose(stats.cov, np.cov(x.numpy(), rowvar=False), atol=1e-9)


def test_frechet_of_gaussians_in_closed_form():
    a = exact(torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()))
    b = exact(torch.tensor([3.0, 0, 4]).double(), torch.diag(torch.tensor([4.0, 1, 16]).double()))
    # commuting covariances: |mean difference|^2 + sum (std_a - std_b)^2
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 1 + 1, rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (15, 40)])  # the second: singular covariances
def test_frechet_equals_scipy_sqrtm(n, d):
    linalg = pytest.importorskip("scipy.linalg")
    x, y = cloud(n, d, 1), cloud(n, d, 2) @ cloud(d, d, 3) + 1
    a, b = stats_of(x), stats_of(y)
    root = linalg.sqrtm(a.cov.numpy() @ b.cov.numpy())
    expected = (
        ((a.mean - b.mean) ** 2).sum() + a.cov.trace() + b.cov.trace() - 2 * np.trace(root).real
    )
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-5)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_frechet_is_blind_to_rotation_and_needs_two_images():
    x, y = cloud(200, 6, 1), cloud(200, 6, 2) * 2
    q = torch.linalg.qr(cloud(6, 6, 3)).Q
    turned = frechet_distance(stats_of(x @ q), stats_of(y @ q))
    assert turned == pytest.approx(frechet_distance(stats_of(x), stats_of(y)), rel=1e-10)
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(stats_of(x[:1]), stats_of(y))
    for bad in (x * float("nan"), x[:0], x[0]):
        with pytest.raises(ValueError, match="finite"):
            stats_of(bad)


def test_features_of_two_extractors_are_refused():
    x, narrow = cloud(10, 4), cloud(10, 1)  # one column would broadcast against four
    with pytest.raises(ValueError, match="D = 4, got D = 1"):
        stats_of(x).update(narrow)
    for measure in (kid, precision_recall_density_coverage):
        with pytest.raises(ValueError, match="D = 4 and 1"):
            measure(x, narrow)
    with pytest.raises(ValueError, match="D = 4 and 1"):
        frechet_distance(stats_of(x), stats_of(narrow))


def test_kid_equals_the_double_loop():
    x, y = cloud(9, 4, 1).numpy(), cloud(9, 4, 2).numpy() + 0.5

    def k(a, b):
        return (float(a @ b) / 4 + 1) ** 3

    n = 9
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    xy = sum(k(x[i], y[j]) for i in range(n) for j in range(n)) / (n * n)
    found = kid(torch.from_numpy(x), torch.from_numpy(y), subsets=3)  # each subset is everything
    assert found.mean == pytest.approx(xx + yy - 2 * xy, rel=1e-10)
    assert found.std == pytest.approx(0, abs=1e-12)


def test_kid_is_unbiased_and_repeatable():
    def g():
        return torch.Generator().manual_seed(5)

    x, y = cloud(2000, 8, 1), cloud(2000, 8, 2)
    same = kid(x, y, subsets=200, size=100, generator=g())
    assert abs(same.mean) < 4 * same.std / math.sqrt(200) + 0.005  # equal distributions: about zero
    assert kid(x, y + 1, subsets=20, size=100, generator=g()).mean > 10 * abs(same.mean)
    assert kid(x, y, size=50, generator=g()) == kid(x, y, size=50, generator=g())


def test_inception_score_in_closed_form():
    assert inception_score(torch.full((50, 10), 0.1)).mean == pytest.approx(1)
    assert inception_score(torch.eye(10).repeat(30, 1), splits=3).mean == pytest.approx(10)
    p = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).repeat(10, 1)
    kl = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert inception_score(p, splits=1).mean == pytest.approx(math.exp(kl), rel=1e-6)
    with pytest.raises(ValueError, match="splits must be"):
        inception_score(p, splits=21)
    with pytest.raises(ValueError, match="of logits take softmax"):
        inception_score(cloud(20, 4).float())


X = cloud(300, 20, 1)
CLOUDS = {  # real and fake
    "apart": (cloud(60, 3, 1), cloud(45, 3, 2) * 1.3 + 0.4),
    "copies of some real images": (X, X[:100]),
    "one real image, over and over": (X, X[:1].repeat(50, 1)),
    "nothing but copies": (X[:1].repeat(40, 1), X[:1].repeat(30, 1)),
    "real images four times each": (X.repeat(4, 1), X[:50]),
    "small and far from zero": (X * 1e-6 + 5, cloud(200, 20, 2) * 1e-6 + 5),
    "many ties": (X[:, :6].sign(), cloud(200, 6, 2).sign()),
}


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("real", "fake"), CLOUDS.values(), ids=CLOUDS.keys())
def test_neighbours_equal_brute_force(real, fake, k):
    def distances(a, b):
        return (a[:, None] - b).square().sum(2).sqrt()

    def radii(x):
        d = distances(x, x).fill_diagonal_(math.inf)
        return d.sort(dim=1).values[:, k - 1]

    d = distances(real, fake)
    inside = d <= radii(real)[:, None]
    expected = (
        inside.any(0).double().mean().item(),
        (d <= radii(fake)).any(1).double().mean().item(),
        inside.sum().item() / (k * len(fake)),
        inside.any(1).double().mean().item(),
    )
    for block in (7, 1000):
        found = precision_recall_density_coverage(real, fake, k, block=block)
        assert found == pytest.approx(expected, abs=1e-12)


def test_neighbours_at_the_extremes():
    x = cloud(100, 5)
    assert precision_recall_density_coverage(x, x)[:2] == (1, 1)
    far = precision_recall_density_coverage(x, x + 1000)
    assert far == (0, 0, 0, 0)
    collapsed = precision_recall_density_coverage(x, x[:1] + 1e-3 * cloud(100, 5, 1))
    assert collapsed.precision == 1
    assert collapsed.recall < 0.1
    with pytest.raises(ValueError, match="k must be"):
        precision_recall_density_coverage(x, x[:3], k=3)


def test_evaluate_real_digits_and_noise(tmp_path):
    net, train, test = Classifier.load("digits"), load("digits"), load("digits", "test")
    floor = evaluate(test.images, train, net, cache=tmp_path)
    noise = torch.randint(0, 256, test.images.shape, generator=torch.Generator().manual_seed(0))
    bad = evaluate(noise.to(torch.uint8), train, net, cache=tmp_path)
    name = net.frechet_name
    assert 0 < floor[name] < 0.1 * bad[name]
    assert floor["precision"] > 0.8 > 0.2 > bad["precision"]
    assert floor["classifier score"] > 2 * bad["classifier score"]
    assert (floor["n_samples"], floor["n_reference"], floor["reference"]) == (297, 1500, "digits")
    with pytest.raises(ValueError, match="to_uint8"):
        evaluate(test.images.float(), train, net, cache=tmp_path)


def test_reference_cache_is_keyed_by_pixels_and_weights(tmp_path):
    net, data = Classifier.load("digits"), load("digits", "test")
    first = reference_features(data, net, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    torch.testing.assert_close(reference_features(data, net, cache=tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 1
    changed = data.images.clone()
    changed[0, 0, 0, 0] ^= 1
    reference_features(Images(changed, data.labels, data.classes), net, cache=tmp_path)
    net.digest = "other weights"
    reference_features(data, net, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def flipped(kept: bytes) -> bytes:
    return kept[:-1] + bytes([kept[-1] ^ 0x40])  # a bit of the last feature's exponent


def fewer(kept: bytes) -> bytes:
    return resaved(kept, lambda x: x[: len(x) // 2])


def wider(kept: bytes) -> bytes:
    return resaved(kept, lambda x: x.repeat(1, 2))


def resaved(kept: bytes, change) -> bytes:
    length = int.from_bytes(kept[:8], "little")
    about = json.loads(kept[8 : 8 + length])["__metadata__"]
    return save({"features": change(safetensors_load(kept)["features"]).contiguous()}, about)


def unsigned(kept: bytes) -> bytes:
    return save(safetensors_load(kept))


@pytest.mark.parametrize("damage", [flipped, fewer, wider, unsigned, lambda kept: kept[:100]])
def test_a_damaged_cache_is_told_of_and_made_anew(tmp_path, damage):
    net, data = Classifier.load("digits"), load("digits", "test")
    first = reference_features(data, net, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    with pytest.warns(UserWarning, match="damaged or not of these images: made anew"):
        again = reference_features(data, net, cache=tmp_path)
    assert torch.equal(again, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(reference_features(data, net, cache=tmp_path), first)


def test_features_of_other_images_are_refused_under_a_name_that_fits(tmp_path):
    net, data = Classifier.load("digits"), load("digits", "test")
    other = Images(data.images.flip(-1), data.labels, data.classes)
    reference_features(other, net, cache=tmp_path / "other")
    first = reference_features(data, net, cache=tmp_path / "own")
    ((own,), (foreign,)) = ((tmp_path / k).iterdir() for k in ("own", "other"))
    shutil.copy(foreign, own)
    with pytest.warns(UserWarning, match="not of these images"):
        assert torch.equal(reference_features(data, net, cache=tmp_path / "own"), first)


def test_without_a_place_for_the_cache_features_are_made_all_the_same(tmp_path, monkeypatch):
    net, data = Classifier.load("digits"), load("digits", "test")
    first = reference_features(data, net, cache=tmp_path / "cache")
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot keep the features"):
        assert torch.equal(reference_features(data, net, cache=tmp_path / "file"), first)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert torch.equal(reference_features(data, net), first)


def test_no_measure_depends_on_the_order_of_a_folder(tmp_path) -> None:
    """A folder comes class by class; cut at a count, precision fell from 0.87 to 0.15."""
    net, train, test = Classifier.load("digits"), load("digits"), load("digits", "test")
    order = train.labels.argsort(stable=True)
    by_class = Images(train.images[order], train.labels[order], train.classes)
    fakes = test.labels.argsort(stable=True)
    g = torch.Generator
    how = {"neighbours": 200, "cache": tmp_path}
    a = evaluate(test.images, train, net, generator=g().manual_seed(0), **how)
    b = evaluate(test.images[fakes], by_class, net, generator=g().manual_seed(0), **how)
    for name in ("precision", "recall", "density", "coverage"):
        assert b[name] == pytest.approx(a[name], abs=0.2), name
    assert b["classifier score"] == pytest.approx(a["classifier score"], rel=0.1)
    again = evaluate(test.images[fakes], by_class, net, generator=g().manual_seed(0), **how)
    assert again == b  # one generator reaches every draw


def test_features_too_large_to_be_squared_are_refused() -> None:
    x = cloud(20, 4)
    with pytest.raises(ValueError, match="too large to be squared"):
        precision_recall_density_coverage(x, x + 1e200)


# -- other programs' statistics ----------------------------------------------------------------


def test_statistics_are_written_and_read_as_pytorch_fid_does(tmp_path: Path) -> None:
    x, y = cloud(300, 6, 1), cloud(200, 6, 2) + 0.5
    stats_of(x).save(tmp_path / "new" / "ours.npz")
    with np.load(tmp_path / "new" / "ours.npz", allow_pickle=False) as file:  # as they do
        mu, sigma = file["mu"][:], file["sigma"][:]
    np.testing.assert_allclose(mu, x.numpy().mean(0))
    np.testing.assert_allclose(sigma, np.cov(x.numpy(), rowvar=False))
    ours = FrechetStats.load(tmp_path / "new" / "ours.npz")
    assert ours.n == 300
    assert frechet_distance(ours, stats_of(y)) == pytest.approx(
        frechet_distance(stats_of(x), stats_of(y)), rel=1e-12
    )
    torch.testing.assert_close(ours.update(y).cov, stats_of(torch.cat([x, y])).cov)

    sigma = np.cov(y.numpy(), rowvar=False).astype(np.float32)  # some write half as many digits
    np.savez(tmp_path / "theirs.npz", mu=y.numpy().mean(0), sigma=sigma, arr_0=np.zeros(3))
    theirs = FrechetStats.load(tmp_path / "theirs.npz")
    assert theirs.n is None
    assert frechet_distance(stats_of(x), theirs) == pytest.approx(
        frechet_distance(stats_of(x), stats_of(y)), rel=1e-4
    )
    with pytest.raises(ValueError, match="does not say its n"):
        theirs.update(x)
    with pytest.raises(ValueError, match="D = 5 and 6"):
        frechet_distance(stats_of(cloud(9, 5)), theirs)


S3 = np.eye(3)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(3)}, "has no sigma"),
        ({"arr_0": S3}, "has no mu and no sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, "must have mu .D,. and sigma"),
        ({"mu": np.zeros((3, 1)), "sigma": S3}, "must have mu .D,. and sigma"),
        ({"mu": np.full(3, np.nan), "sigma": S3}, "finite"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.inf)}, "finite"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "symmetric"),
        ({"mu": np.zeros(3), "sigma": -S3}, "variances below 0"),
        ({"mu": np.zeros(3), "sigma": S3.astype(complex)}, "real numbers"),
        ({"mu": np.zeros(3), "sigma": np.array([None] * 3)}, "no .npz of plain numbers"),
        ({"mu": np.zeros(3), "sigma": S3, "n": np.array(1)}, "n in .* at least 2"),
        ({"mu": np.zeros(3), "sigma": S3, "n": np.array([3, 3])}, "n in .* at least 2"),
    ],
)
def test_files_that_are_no_statistics_are_refused(arrays, words, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        FrechetStats.load(tmp_path / "s.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY", b"mu = 3"])
def test_files_that_are_no_npz_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"no .npz of plain numbers"):
        FrechetStats.load(tmp_path / "s.npz")


def test_a_file_cut_off_or_with_a_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    stats_of(cloud(50, 8)).save(tmp_path / "s.npz")
    whole = (tmp_path / "s.npz").read_bytes()
    known = FrechetStats.load(tmp_path / "s.npz").mean
    refused = 0
    for i in range(0, len(whole), 7):
        for bad in (whole[:i], whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :]):
            (tmp_path / "s.npz").write_bytes(bad)
            try:
                assert torch.equal(FrechetStats.load(tmp_path / "s.npz").mean, known)
            except ValueError:
                refused += 1
    assert refused > len(whole) // 14


def broken(kind: float) -> torch.Tensor:
    x = cloud(20, 4)
    x[3, 2] = kind
    return x


@pytest.mark.parametrize("kind", [math.nan, math.inf, -math.inf])
def test_a_nan_never_reads_as_a_distance(kind: float) -> None:
    good, bad = cloud(20, 4), broken(kind)
    for measure in (kid, precision_recall_density_coverage):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(ValueError, match="finite"):
                measure(*pair)
    for name in ("mean", "_scatter"):  # statistics from elsewhere, not from `update`
        a, b = stats_of(good), stats_of(good)
        getattr(b, name).view(-1)[1] = kind
        for pair in ((a, b), (b, a)):
            with pytest.raises(ValueError, match="finite"):
                frechet_distance(*pair)
    probs = torch.eye(4).repeat(5, 1)
    probs[7, 1] = kind
    with pytest.raises(ValueError, match="probs must be"):
        inception_score(probs, splits=1)


def test_a_sum_that_overflows_is_not_a_perfect_distance() -> None:
    a, b = stats_of(cloud(20, 4) * 1e-3), stats_of(cloud(20, 4) * 1e-3)
    b.mean = b.mean + 1e300
    assert frechet_distance(a, b) == math.inf


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(9, 8, 8, 1, dtype=torch.uint8),  # channels last
        torch.zeros(9, 32, 32, 3, dtype=torch.uint8),
        torch.zeros(9, 1, 8, 8),
        torch.zeros(9, 1, 8, 8, dtype=torch.uint16),
        torch.zeros(9, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
        np.zeros((9, 1, 8, 8), np.uint8),
        np.zeros((9, 8, 8, 1), np.float32),
        [[0]],
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')} {getattr(x, 'shape', '')}",
)
def test_only_bytes_with_their_channels_first_are_measured(images: Any, tmp_path: Path) -> None:
    digits, net = load("digits"), Classifier.load("digits")
    inception = Inception768({"Conv2d_1a_3x3.weight": torch.zeros(32, 3, 3, 3)})
    for measured in (
        lambda: evaluate(images, digits, net, cache=tmp_path),
        lambda: extract(images, net),
        lambda: inception(images),
    ):
        with pytest.raises(ValueError, match=r"^images must be a uint8 tensor \(N, C, H, W\) "):
            measured()


@pytest.mark.parametrize(
    "features",
    [
        torch.zeros(9, 1, 8, 8, dtype=torch.uint8),  # images in their place
        torch.zeros(9, 8, 8, 1),
        torch.zeros(9),
        torch.zeros(9, 0),
        torch.zeros(9, 4, dtype=torch.complex64),
        np.zeros((9, 4)),
        [[0.0, 1.0]] * 9,
        None,
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')} {getattr(x, 'shape', '')}",
)
def test_what_is_no_table_of_features_is_refused_by_every_measure(features: Any) -> None:
    for measure in (
        FrechetStats().update,
        lambda x: kid(cloud(9, 4), x),
        lambda x: kid(x, cloud(9, 4)),
        lambda x: precision_recall_density_coverage(x, x),
        inception_score,
    ):
        with pytest.raises(ValueError, match=r"^(features|probs) must be a tensor \(N, "):
            measure(features)


def test_features_of_any_real_kind_are_measured_alike() -> None:
    whole = (cloud(20, 4) * 10).round().abs()
    for kind in (torch.float16, torch.float32, torch.uint8, torch.uint16, torch.int64):
        stats = FrechetStats().update(whole.to(kind))
        assert frechet_distance(stats, stats_of(whole)) == pytest.approx(0, abs=1e-9)
        assert kid(whole.to(kind), whole + 1).mean == kid(whole, whole + 1).mean


@pytest.mark.parametrize("wrong", [{"subsets": 0}, {"size": 1}])
def test_kid_of_no_subsets_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^KID needs subsets >= 1 of size >= 2, got "):
        kid(cloud(9, 4), cloud(9, 4), **wrong)
