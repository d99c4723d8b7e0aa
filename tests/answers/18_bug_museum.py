"""Wrong and right answers to the exercises of chapter 18."""

WRONG = {
    "ex-18-tau": [
        (
            """
def is_walk(steps, T):  # only the ends
    return len(steps) > 1 and steps[0] == T and steps[-1] == 0
""",
            "does nothing: refuse it",
        ),
        (
            """
def is_walk(steps, T):  # not strictly
    falls = all(a >= b for a, b in pairwise(steps))
    return len(steps) > 1 and steps[0] == T and steps[-1] == 0 and falls
""",
            "does nothing: refuse it",
        ),
        (
            """
def is_walk(steps, T):  # no two equal, in any order
    different = len(set(steps)) == len(steps)
    return len(steps) > 1 and steps[0] == T and steps[-1] == 0 and different
""",
            "must not go back up",
        ),
        (
            """
def is_walk(steps, T):  # leaves the loop after the first step
    if not steps or steps[0] != T or steps[-1] != 0 or len(set(steps)) < len(steps):
        return False
    for a, b in pairwise(steps):
        return a > b
""",
            "must not go back up",
        ),
        (
            """
def is_walk(steps, T):  # the end may be 1
    falls = all(a > b for a, b in pairwise(steps))
    return len(steps) > 1 and steps[0] == T and steps[-1] <= 1 and falls
""",
            "ends at 1",
        ),
        (
            """
def is_walk(steps, T):  # any start
    return len(steps) > 1 and steps[-1] == 0 and all(a > b for a, b in pairwise(steps))
""",
            "starts at 980",
        ),
        (
            """
def is_walk(steps, T):  # the chapter's T
    falls = all(a > b for a, b in pairwise(steps))
    return len(steps) > 1 and steps[0] == 1000 and steps[-1] == 0 and falls
""",
            "use the argument T",
        ),
        (
            """
def is_walk(steps, T):  # no thought for an empty list
    return steps[0] == T and steps[-1] == 0 and all(a > b for a, b in pairwise(steps))
""",
            "An empty list is no walk",
        ),
        (
            """
def is_walk(steps, T):
    falls = all(a > b for a, b in pairwise(steps))
""",
            "is there a return?",
        ),
    ],
    "ex-18-uint8": [
        (
            """
def to_bytes(x):  # as it stood
    return ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8)
""",
            "cutting off is not rounding",
        ),
        (
            """
def to_bytes(x):  # not clipped
    return ((x + 1) * 127.5).round().long().to(torch.uint8)
""",
            "clipped, not wrapped",
        ),
        (
            """
def to_bytes(x):  # clipped too late
    return ((x + 1) * 127.5).round().long().to(torch.uint8).clamp(0, 255)
""",
            "clipped, not wrapped",
        ),
        (
            """
def to_bytes(x):  # 128 for 127.5
    return ((x + 1) * 128).clamp(0, 255).round().to(torch.uint8)
""",
            "the bytes 0 … 255",
        ),
        (
            """
def to_bytes(x):  # still floats
    return ((x + 1) * 127.5).clamp(0, 255).round()
""",
            "must be uint8",
        ),
        (
            """
def to_bytes(x):  # always up
    return ((x + 1) * 127.5).clamp(0, 255).ceil().to(torch.uint8)
""",
            "256 grey levels come back wrong",
        ),
        (
            """
def to_bytes(x):
    x = ((x + 1) * 127.5).clamp(0, 255).round()
""",
            "must be uint8",
        ),
    ],
    "ex-18-posterior": [
        (
            """
def beta_tilde(ab, t):  # as it stood
    beta = 1 - ab[t] / ab[t - 1]
    return (1 - ab[t]) / (1 - ab[t - 1]).clamp(min=1e-20) * beta
""",
            "At t = 1 the state before is x_0",
        ),
        (
            """
def beta_tilde(ab, t):  # only t = 1 mended
    beta = 1 - ab[t] / ab[t - 1]
    return 0.0 if t == 1 else (1 - ab[t]) / (1 - ab[t - 1]) * beta
""",
            "cannot make x_1 less certain",
        ),
        (
            """
def beta_tilde(ab, t):  # the standard deviation
    beta = 1 - ab[t] / ab[t - 1]
    return ((1 - ab[t - 1]) / (1 - ab[t]) * beta).sqrt()
""",
            "That is the standard deviation",
        ),
        (
            """
def beta_tilde(ab, t):  # without beta
    return (1 - ab[t - 1]) / (1 - ab[t])
""",
            "cannot make x_1 less certain",
        ),
        (
            """
def beta_tilde(ab, t):  # the other variance
    return 1 - ab[t] / ab[t - 1]
""",
            "At t = 1 the state before is x_0",
        ),
        (
            """
def beta_tilde(ab, t):  # without the denominator
    return (1 - ab[t - 1]) * (1 - ab[t] / ab[t - 1])
""",
            "Wrong at t = 2",
        ),
        (
            """
def beta_tilde(ab, t):
    beta = 1 - ab[t] / ab[t - 1]
""",
            "is there a return?",
        ),
    ],
    "ex-18-mutation": [
        (
            """
def jump_is_right(jump):  # one half is the same for image and noise
    one, zero = torch.ones(1), torch.zeros(1)
    half = torch.full((1,), 0.5**0.5)
    return torch.allclose(jump(0.5, one, zero), half) and torch.allclose(jump(0.5, zero, one), half)
""",
            "one with the root of alpha_bar twice",
        ),
        (
            """
def jump_is_right(jump):  # the squares of the factors add up to one: in either order
    one, zero = torch.ones(1), torch.zeros(1)
    image, noise = jump(0.36, one, zero), jump(0.36, zero, one)
    same = torch.allclose(image + noise, jump(0.36, one, one))
    return same and torch.allclose(image**2 + noise**2, one) and bool(image > 0) and bool(noise > 0)
""",
            "one that swaps image and noise",
        ),
        (
            """
def jump_is_right(jump):  # only the sum of the two
    one = torch.ones(1)
    return torch.allclose(jump(0.36, one, one), 1.4 * one)
""",
            "one that swaps image and noise",
        ),
        (
            """
def jump_is_right(jump):  # only the image
    one, zero = torch.ones(1), torch.zeros(1)
    return torch.allclose(jump(0.36, one, zero), 0.6 * one)
""",
            "one with 1 - alpha_bar as standard deviation",
        ),
        (
            """
def jump_is_right(jump):  # the two ends: nothing is seen between
    x, e = torch.full((1,), 0.3), torch.full((1,), -1.2)
    return torch.allclose(jump(1.0, x, e), x) and torch.allclose(jump(0.0, x, e), e)
""",
            "Your test says True about one with 1 - alpha_bar as standard deviation",
        ),
        (
            """
def jump_is_right(jump):  # the noise's variance without its sign
    one, zero = torch.ones(1), torch.zeros(1)
    noise = jump(0.36, zero, one)
    return torch.allclose(jump(0.36, one, zero), 0.6 * one) and torch.allclose(noise**2, 0.64 * one)
""",
            "one with the noise subtracted",
        ),
        (
            """
def jump_is_right(jump):  # everything is right
    return True
""",
            "Your test says True",
        ),
        (
            """
def jump_is_right(jump):  # asks for equal floats
    x, e = torch.randn(2, 500, generator=seeded(0))
    a, b = math.sqrt(0.3), math.sqrt(0.7)
    return torch.equal(jump(0.3, x, e), a * (x + b / a * e))
""",
            "Your test says False about the right version",
        ),
        (
            """
def jump_is_right(jump):  # raises instead of answering
    x, e = torch.ones(3), torch.zeros(3)
    assert torch.allclose(jump(0.36, x, e), 0.6 * x)
    assert torch.allclose(jump(0.36, e, x), 0.8 * x)
    return True
""",
            "must return False, not raise",
        ),
        (
            """
def jump_is_right(jump):
    torch.allclose(jump(0.36, torch.ones(1), torch.zeros(1)), 0.6 * torch.ones(1))
""",
            "Your test says False about the right version",
        ),
    ],
}

RIGHT = {
    "ex-18-tau": [
        """
def is_walk(steps, T):  # a loop
    at = None
    for t in steps:
        if (t != T) if at is None else (t >= at):
            return False
        at = t
    return at == 0
""",
        """
def is_walk(steps, T):  # sorted, without repeats; 1 and 0 for True and False
    good = list(steps) == sorted(set(steps), reverse=True)
    return int(good and {T, 0} <= set(steps) and max(steps) == T and min(steps) == 0)
""",
    ],
    "ex-18-uint8": [
        """
def to_bytes(x):  # half a level is added, then cut off
    return ((x + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8)
""",
        """
def to_bytes(x):  # clipped first, float64
    return torch.round((x.double().clamp(-1, 1) + 1) / 2 * 255).byte()
""",
    ],
    "ex-18-posterior": [
        """
def beta_tilde(ab, t):  # precisions add, with Python's floats
    a, before = float(ab[t] / ab[t - 1]), float(ab[t - 1])
    return 0.0 if before == 1 else 1 / (a / (1 - a) + 1 / (1 - before))
""",
        """
def beta_tilde(ab, t):  # float32
    before, now = ab.float()[t - 1], ab.float()[t]
    return (1 - before) * (1 - now / before) / (1 - now)
""",
    ],
    "ex-18-mutation": [
        """
def jump_is_right(jump):  # random numbers, several levels, float64
    x, e = torch.randn(2, 20, generator=seeded(0), dtype=torch.float64)
    return all(
        bool((jump(a, x, e) - (math.sqrt(a) * x + math.sqrt(1 - a) * e)).abs().max() < 1e-9)
        for a in (0.9, 0.5, 0.01)
    )
""",
        """
def jump_is_right(jump):  # mean and spread of many draws
    x, e = torch.full((100_000,), 2.0), torch.randn(100_000, generator=seeded(0))
    y = jump(0.2, x, e)
    mean, std = abs(float(y.mean()) - 2 * 0.2**0.5) < 0.02, abs(float(y.std()) - 0.8**0.5) < 0.02
    return mean and std and float((y * e).mean()) > 0
""",
    ],
}
