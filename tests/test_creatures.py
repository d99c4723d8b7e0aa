"""Creatures: every factor shows, what is drawn is read, and networks take several labels."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import minidiff as md
from minidiff.data import creature_set, creatures, from_uint8, load, to_uint8
from minidiff.data.images import Images, count_classes
from minidiff.data.shapes import bow, disc, join, line, meet, oval
from minidiff.engine.config import make_model, read_config
from minidiff.engine.distributed import World
from minidiff.engine.generate import Sampling, generate, in_turn
from minidiff.unet.compat import unet_to_diffusers

EARS, MUZZLE, EYES = 0, 1, 2
DIGEST = "7f8b2d75ccc59fbe7d5d9cee9a2956b0d1fbe4f12135cf31a524d7974c7ce76f"  # of all labels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def neighbours(factors: torch.Tensor) -> torch.Tensor:
    """One creature (7,) and all that differ from it in one factor, (1 + 47, 7)."""
    changed = [factors]
    for column, count in enumerate(creatures.COUNTS):
        for k in range(count):
            if k != factors[column]:
                changed.append(factors.clone())
                changed[-1][column] = k
    return torch.stack(changed)


def grey_levels(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 127.5 * (x - y).square().flatten(1).mean(1).sqrt()


# -- shapes ---------------------------------------------------------------------------------------


def test_distances_are_those_of_the_shapes() -> None:
    x, y = 4 * torch.rand(2, 1000, generator=generator(), dtype=torch.float64) - 2
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)
    points = torch.stack([x, y], 1)

    def nearest(px: torch.Tensor, py: torch.Tensor) -> torch.Tensor:
        return torch.cdist(points, torch.stack([px, py], 1)).amin(1)

    outside = disc(x, y, 0.2, -0.1, 0.7)
    close = {"rtol": 0, "atol": 2e-3}
    edge = nearest(0.2 + 0.7 * angle.cos(), -0.1 + 0.7 * angle.sin())
    torch.testing.assert_close(outside.abs(), edge, **close)
    middle = torch.linspace(0, 1, 2001, dtype=torch.float64)
    capsule = line(x, y, (-0.5, 0.1), (0.6, -0.4), 0.2)
    torch.testing.assert_close(
        capsule, nearest(-0.5 + 1.1 * middle, 0.1 - 0.5 * middle) - 0.2, **close
    )
    half = math.pi + angle / 2  # up is where y falls
    arch = bow(x, y, 0.1, 0.2, 0.6, 0.05, up=True)
    torch.testing.assert_close(
        arch, nearest(0.1 + 0.6 * half.cos(), 0.2 + 0.6 * half.sin()) - 0.05, **close
    )
    torch.testing.assert_close(join(outside, capsule) < 0, (outside < 0) | (capsule < 0))
    torch.testing.assert_close(meet(outside, capsule) < 0, (outside < 0) & (capsule < 0))


@pytest.mark.parametrize("power", [2.0, 2.3, 4.0])
def test_an_oval_has_its_edge_where_it_should_and_a_slope_of_one(power: float) -> None:
    angle = torch.linspace(0.1, 1.4, 50, dtype=torch.float64)
    u, v = angle.cos().pow(2 / power), angle.sin().pow(2 / power)  # u^power + v^power = 1
    x, y = (0.3 + 0.8 * u).requires_grad_(), (0.5 * v - 0.2).requires_grad_()
    d = oval(x, y, 0.3, -0.2, 0.8, 0.5, power=power)
    torch.testing.assert_close(d, torch.zeros_like(d), rtol=0, atol=1e-6)
    slope = torch.hypot(*torch.autograd.grad(d.sum(), (x, y)))
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=0, atol=1e-5)
    turned = oval(0.3 - 0.5 * v, -0.2 + 0.8 * u, 0.3, -0.2, 0.8, 0.5, math.pi / 2, power)
    torch.testing.assert_close(turned, torch.zeros_like(turned), rtol=0, atol=1e-6)


# -- drawing --------------------------------------------------------------------------------------


def test_there_are_enough_of_each_and_all_have_names() -> None:
    least = {"ears": 8, "muzzle": 8, "eyes": 6, "hair": 4, "pattern": 4, "fur": 12, "ground": 8}
    assert list(creatures.FACTORS) == list(least)
    for (name, kinds), count in zip(creatures.FACTORS.items(), creatures.COUNTS, strict=True):
        assert len(set(kinds)) == len(kinds) == count >= least[name]
    factors = creatures.random(2000, generator())
    assert factors.shape == (2000, 7)
    assert factors.dtype == torch.long
    assert tuple(factors.amax(0) + 1) == creatures.COUNTS
    assert factors.amin() == 0


@pytest.mark.parametrize("size", [16, 33, 128])
def test_images_have_their_size_and_range_and_depend_on_their_own_factors_only(size: int) -> None:
    factors, how = creatures.random(20, generator()), creatures.vary(20, generator(1))
    for variation in (None, how):
        x = creatures.draw(factors, size, variation)
        assert x.shape == (20, 3, size, size)
        assert x.dtype == torch.float32
        assert x.min() >= -1
        assert x.max() <= 1
        alone = creatures.draw(factors[7:8], size, None if variation is None else how[7:8])
        torch.testing.assert_close(alone[0], x[7], rtol=0, atol=1e-6)
    assert creatures.draw(factors[:0], size).shape == (0, 3, size, size)


def test_large_drawings_are_small_ones_seen_closely() -> None:
    factors = creatures.random(50, generator())
    small = torch.nn.functional.avg_pool2d(creatures.draw(factors, 128), 4)
    assert grey_levels(small, creatures.draw(factors, 32)).max() < 10


@pytest.mark.parametrize("size", [16, 32])
def test_every_factor_shows_in_every_company(size: int) -> None:
    for one in creatures.random(40, generator(size)):
        x = creatures.draw(neighbours(one), size)
        apart = grey_levels(x[1:], x[:1])
        assert apart.min() > 2.5, neighbours(one)[1 + int(apart.argmin())]


def test_no_variation_is_the_plain_creature_and_each_of_them_shows() -> None:
    factors = creatures.random(30, generator())
    plain, zero = creatures.draw(factors), torch.zeros(30, len(creatures.VARIATIONS))
    torch.testing.assert_close(creatures.draw(factors, 32, zero), plain, rtol=0, atol=1e-4)
    for column, name in enumerate(creatures.VARIATIONS):
        for value in (-1.0, 1.0):
            how = zero.clone()
            how[:, column] = value
            # the hue of grey is grey
            assert grey_levels(creatures.draw(factors, 32, how), plain).median() > 2, name


@pytest.mark.parametrize(
    ("factors", "size", "variation", "message"),
    [
        (
            torch.zeros(2, 6, dtype=torch.long),
            32,
            None,
            r"shape \(N, 7\), a column for each of ears",
        ),
        (torch.zeros(2, 7), 32, None, r"whole numbers .* got torch\.float32"),
        (
            torch.tensor([[0, 0, 0, 0, 4, 0, 0]]),
            32,
            None,
            r"pattern must be in 0\.\.3 \(plain.* got 4",
        ),
        (torch.tensor([[-1, 0, 0, 0, 0, 0, 0]]), 32, None, r"ears must be in 0\.\.9 .* got -1"),
        (torch.zeros(2, 7, dtype=torch.long), 15, None, r"16\.\.128, got 15"),
        (torch.zeros(2, 7, dtype=torch.long), 32, torch.zeros(2, 5), r"shape \(2, 6\), .* hue"),
        (torch.zeros(2, 7, dtype=torch.long), 32, torch.full((2, 6), math.nan), r"in -1\.\.1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    factors: torch.Tensor, size: int, variation: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        creatures.draw(factors, size, variation)


# -- reading --------------------------------------------------------------------------------------


def design(seed: int) -> torch.Tensor:
    """Every hair with every pattern, fur and ground, (1536, 7); and the ears and faces, in turn.

    The reader takes the first four together, and to each such four the best ears and face.
    """
    four = torch.cartesian_prod(*map(torch.arange, creatures.COUNTS[EYES + 1 :]))
    three = torch.cartesian_prod(*map(torch.arange, creatures.COUNTS[: EYES + 1]))
    turn = torch.randperm(len(three), generator=generator(seed)).repeat(len(four) // len(three) + 1)
    return torch.cat([three[turn[: len(four)]], four], dim=1)


@pytest.mark.parametrize("size", [16, 32])
def test_reading_is_the_inverse_of_drawing(size: int) -> None:
    factors = torch.cat([design(size), *map(neighbours, creatures.random(20, generator(1)))])
    assert len(factors[:, :3].unique(dim=0)) >= math.prod(creatures.COUNTS[:3])
    assert len(factors[:, 3:].unique(dim=0)) == math.prod(creatures.COUNTS[3:])
    for some in factors.split(1000):
        found, distance = creatures.read(creatures.draw(some, size))
        assert torch.equal(found, some)
        assert distance.max() < 1e-3


def test_another_default_precision_changes_nothing() -> None:
    factors, how = creatures.random(10, generator()), creatures.vary(10, generator(1))
    want = creatures.draw(factors, 20, how)
    creatures._regions.cache_clear()
    creatures.palette.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert creatures.read(creatures.draw(factors, 20))[0].equal(factors)
        torch.testing.assert_close(creatures.draw(factors, 20, how), want)
        assert creatures.draw(factors, 20, how.double()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("size", [17, 24, 64])
def test_reading_at_other_sizes(size: int) -> None:
    factors = creatures.random(100, generator(size))
    assert torch.equal(creatures.read(creatures.draw(factors, size))[0], factors)


@pytest.mark.parametrize("size", [16, 17, 19, 23, 29, 32, 48, 64, 96, 128])
def test_no_pixel_depends_on_both_ears_and_face(size: int) -> None:
    """What `read` rests on, seen in the pictures themselves."""

    def depends(*columns: int) -> torch.Tensor:
        changed = [neighbours(one) for one in creatures.random(4, generator(size))]
        touched = torch.zeros(size, size, dtype=torch.bool)
        for some in changed:
            kept = [(some[:, c] != some[0, c]) for c in columns]
            x = creatures.draw(some[torch.stack(kept).any(0)], size)
            touched |= (x != creatures.draw(some[:1], size)).any(1).any(0)
        return touched

    ears, face = depends(EARS), depends(MUZZLE, EYES)
    assert ears.any()
    assert face.any()
    assert not (ears & face).any()


@pytest.mark.parametrize("size", [16, 32])
def test_a_few_grey_levels_of_noise_are_read_through(size: int) -> None:
    factors = creatures.random(500, generator(2))
    noise = 4 / 127.5 * torch.randn(500, 3, size, size, generator=generator(3))
    found, distance = creatures.read(from_uint8(to_uint8(creatures.draw(factors, size) + noise)))
    assert torch.equal(found, factors)
    # a little less than 4: what goes beyond white and black is cut off
    assert distance.min() > 3
    assert distance.max() < 4.5


@pytest.mark.parametrize("kind", ["halves", "varied", "noise"])
def test_nothing_that_can_be_drawn_is_nearer(kind: str) -> None:
    pair = creatures.random(8, generator(4)), creatures.random(8, generator(5))
    x = {
        "halves": (creatures.draw(pair[0]) + creatures.draw(pair[1])) / 2,
        "varied": creatures.draw(pair[0], 32, creatures.vary(8, generator(6))),
        "noise": torch.randn(8, 3, 32, 32, generator=generator(7)).clamp(-1, 1),
    }[kind]
    found, distance = creatures.read(x)
    torch.testing.assert_close(grey_levels(creatures.draw(found), x), distance)
    others = creatures.draw(creatures.random(2000, generator(8)))
    for image, factors, least in zip(x, found, distance, strict=True):
        two = torch.cat([neighbours(one) for one in neighbours(factors)]).unique(dim=0)
        assert grey_levels(others, image).min() >= least - 1e-3
        assert grey_levels(creatures.draw(two), image).min() >= least - 1e-3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 1, 32, 32), r"\(N, 3, size, size\)"),
        (torch.zeros(1, 3, 32, 30), r"\(N, 3, size, size\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "from_uint8"),
        (torch.zeros(1, 3, 8, 8), r"16\.\.128, got 8"),
        (torch.full((1, 3, 16, 16), math.nan), "must be finite"),
    ],
)
def test_what_cannot_be_read_is_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        creatures.read(images)


# -- the data set ---------------------------------------------------------------------------------


def test_the_sets_are_fixed_disjoint_and_withhold_their_pairs() -> None:
    train, test = (load("creatures", split, size=16) for split in ("train", "test"))
    assert isinstance(train, Images)
    assert isinstance(test, Images)
    assert train.classes == tuple(creatures.FACTORS.values())
    assert train.name == "creatures"
    assert (train.images.shape, test.images.shape) == ((50_000, 3, 16, 16), (10_000, 3, 16, 16))
    digest = hashlib.sha256(torch.cat([train.labels, test.labels]).numpy().tobytes()).hexdigest()
    assert digest == DIGEST
    assert len(torch.cat([train.labels, test.labels]).unique(dim=0)) == 60_000
    assert not creature_set.withheld(train.labels).any()
    assert torch.equal(creature_set.withheld(test.labels), torch.arange(10_000) % 2 == 1)
    assert {muzzle for _, muzzle in creature_set.WITHHELD} == set(creatures.FACTORS["muzzle"])
    seen = torch.zeros(creatures.COUNTS[:2], dtype=torch.bool)
    seen[train.labels[:, 0], train.labels[:, 1]] = True
    assert (~seen).sum() == len(creature_set.WITHHELD)
    for images in (train, test):
        x, labels = images.batch(500, generator=generator())
        assert torch.equal(x, from_uint8(to_uint8(creatures.draw(labels, 16))))


def test_the_varied_set_has_the_same_creatures_each_in_its_own_way() -> None:
    plain, varied = (load(name, "test") for name in ("creatures", "creatures_varied"))
    assert torch.equal(plain.labels, varied.labels)
    assert plain.shape == varied.shape == (3, 32, 32)
    assert (plain.images != varied.images).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (torch.zeros(4, dtype=torch.long), (("a", "b"), ("c",)), "a row of 2 for each of the 4"),
        (torch.zeros(4, 3, dtype=torch.long), (("a", "b"), ("c",)), "a row of 2 for each of the 4"),
        (torch.ones(4, 2, dtype=torch.long), (("a", "b"), ("c",)), r"0\.\.0, .* got 1\.\.1"),
        (
            torch.zeros(4, 2, dtype=torch.long),
            (("a", "b"), "c"),
            "a tuple of names, got .*K tuples",
        ),
    ],
)
def test_several_labels_that_are_none_are_refused(
    labels: torch.Tensor, classes: tuple[tuple[str, ...], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Images(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels, classes)


# -- networks with several labels -----------------------------------------------------------------


def test_each_label_has_its_own_rows_and_its_own_null() -> None:
    net = md.UNet.digits(num_classes=(3, 2)).eval()
    assert net.labels.weight.shape[0] == 4 + 3
    t = torch.zeros(1, dtype=torch.long)
    every = [torch.tensor([[a, b]]) for a in range(4) for b in range(3)]
    vectors = torch.cat([net.embed(t, labels) for labels in every])
    assert len(vectors.unique(dim=0)) == 12
    for labels, vector in zip(every, vectors, strict=True):
        a, b = labels[0].tolist()
        told = net.labels.weight[a] + net.labels.weight[4 + b]
        want = torch.nn.functional.silu(net.time(net.features(t)) + told)
        torch.testing.assert_close(vector[None], want)
    assert (
        net(torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.tensor([[0, 1], [3, 2]]))
        .isfinite()
        .all()
    )
    assert sum(row.parameters for row in net.rows()) == sum(p.numel() for p in net.parameters())


def test_one_label_in_a_tuple_is_one_label() -> None:
    torch.manual_seed(0)
    one = md.UNet.digits(num_classes=5).eval()
    torch.manual_seed(0)
    lone = md.UNet.digits(num_classes=(5,)).eval()
    t, y = torch.arange(4), torch.tensor([0, 3, 4, 5])
    assert torch.equal(one.embed(t, y), lone.embed(t, y[:, None]))
    assert one.state_dict().keys() == lone.state_dict().keys()


def test_several_labels_without_a_null_class() -> None:
    net = md.UNet.digits(num_classes=(3, 2), null_class=False, label_dropout=1.0, start="torch")
    assert net.labels.weight.shape[0] == 3 + 2
    t, y = torch.zeros(1), torch.tensor([[2, 1]])
    told = net.train().embed(t, y)
    rows = net.labels.weight[2] + net.labels.weight[3 + 1]
    torch.testing.assert_close(told, torch.nn.functional.silu(net.time(net.features(t)) + rows))
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"entries 0\.\.2, 0\.\.1; got 2\.\.2"):
        net(x, t, torch.tensor([[0, 2]]))
    model = md.Denoiser(net, md.Schedule.linear(100)).eval()
    assert model.null_label is None
    assert torch.equal(md.guide(model, y)(x, 5).eps, model(x, 5, labels=y).eps)
    with pytest.raises(ValueError, match="no null class"):
        md.guide(model, y, w=1.0)
    with pytest.raises(ValueError, match=r"expected \(1, 2\)"):
        md.guide(model, y[0])(x, 5)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_labels_are_dropped_as_often_as_asked_and_in_every_company(p: float) -> None:
    net = md.UNet.digits(num_classes=(3, 4, 5), label_dropout=p, dropout=0.0).train()
    seen = []
    net.labels.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    torch.manual_seed(0)
    net.embed(torch.zeros(20_000), torch.tensor([[0, 1, 2]]).expand(20_000, 3))
    dropped = seen[0] != torch.tensor([0, 1, 2]) + net.first
    assert torch.equal(seen[0][dropped], net.nulls.expand(20_000, 3)[dropped])
    assert torch.allclose(dropped.float().mean(0), torch.tensor(p), atol=0.015)
    counts = dropped.sum(1).bincount(minlength=4)
    if 0 < p < 1:  # E[u^(3 (1 - p) / p)] lose all three
        assert counts.min() > 0
        assert abs(counts[3] / 20_000 - p / (3 * (1 - p) + p)) < 0.015


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, dtype=torch.long), r"shape \(2, 2\) .* got .* shape \(2,\)"),
        (torch.zeros(2, 3, dtype=torch.long), r"shape \(2, 2\)"),
        (torch.tensor([[0, 3], [0, 0]]), r"1, or 2 for no class; got 0\.\.3"),
        (None, "got None"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor | None, message: str) -> None:
    net = md.UNet.digits(num_classes=(3, 2))
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(2, 1, 8, 8), torch.zeros(2), labels)


def test_guidance_leads_away_from_no_labels_at_all() -> None:
    net = md.UNet.digits(num_classes=(3, 2), start="torch")
    model = md.Denoiser(net, md.Schedule.linear(100), clip=False).eval()
    x, y = torch.randn(2, 1, 8, 8, generator=generator()), torch.tensor([[0, 1], [3, 0]])
    told = model(x, 5, labels=y).eps
    untold = model(x, 5, labels=torch.tensor([[3, 2], [3, 2]])).eps
    guided = md.guide(model, y, 2.0)(x, 5).eps
    torch.testing.assert_close(guided, 3 * told - 2 * untold, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), expected \(2, 2\)"):
        md.guide(model, y[:, 0], 2.0)(x, 5)
    with pytest.raises(ValueError, match="one label an image"):
        unet_to_diffusers(net)


def test_labels_in_turn() -> None:
    assert in_turn(range(2, 6), 3).tolist() == [2, 0, 1, 2]
    assert in_turn(range(2, 6), 3, [1, 3]).tolist() == [1, 3, 1, 3]
    assert in_turn(range(4), (2, 3)).tolist() == [[0, 0], [1, 1], [0, 2], [1, 0]]
    with pytest.raises(ValueError, match=r"0\.\.1, or 2 for none, 0\.\.2, or 3 for none"):
        in_turn(range(4), (2, 3), [3, 0])
    with pytest.raises(ValueError, match="2 labels for each image"):
        in_turn(range(4), (2, 3), [0, 1, 1])
    with pytest.raises(ValueError, match=r"0\.\.1, 0\.\.2; got"):
        in_turn(range(4), (2, 3), [2, 0], null=False)
    model = md.Denoiser(md.UNet.digits(num_classes=(3, 2)), md.Schedule.linear(100))
    how = Sampling(steps=2, labels=(0, 1, 2, 2))
    one = World(0, 1, torch.device("cpu"))
    model.eval()
    few, all_ = (generate(model, (1, 8, 8), n, how, one, batch=b) for n, b in ((2, 1), (4, 3)))
    torch.testing.assert_close(few, all_[:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("creatures", 32), ("creatures16", 16)])
def test_the_shipped_networks_are_small_and_know_every_factor(name: str, size: int) -> None:
    config = read_config(name)
    model = make_model(config, (3, size, size), count_classes(tuple(creatures.FACTORS.values())))
    assert model.num_classes == creatures.COUNTS
    assert sum(p.numel() for p in model.parameters()) <= 4_000_000


def test_a_short_run_is_trained_saved_and_sampled(tmp_path: Path) -> None:
    factors = creatures.random(64, generator())
    images = Images(
        to_uint8(creatures.draw(factors, 16)), factors, tuple(creatures.FACTORS.values())
    )
    options = {**read_config("creatures16").network_options, "width": 8}
    config = replace(
        read_config("creatures16"),
        network_options=options,
        steps=3,
        batch=8,
        sample_every=3,
        validate_every=0,
    )
    md.train(config, tmp_path / "run", data=images, device="cpu")
    model = md.load_pretrained(tmp_path / "run")
    assert model.num_classes == creatures.COUNTS
    *_, last = md.ddim(
        md.guide(model, creatures.random(2), 1.0), torch.randn(2, 3, 16, 16), md.tau(1000, S=2)
    )
    assert last.x.shape == (2, 3, 16, 16)
