"""Creatures: every factor shows, and what is drawn is read."""

import math

import pytest
import torch

from minidiff.data import creatures, from_uint8, to_uint8
from minidiff.data.shapes import bow, disc, join, line, meet, oval

EARS, MUZZLE, EYES = 0, 1, 2


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


@pytest.mark.parametrize("size", [16, 32])
def test_reading_is_the_inverse_of_drawing(size: int) -> None:
    factors = torch.cat(
        [
            creatures.random(20_000, generator(size)),
            *map(neighbours, creatures.random(20, generator(1))),
        ]
    )
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
