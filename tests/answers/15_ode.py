"""Wrong and right answers to the exercises of chapter 15."""

WRONG = {
    "ex-15-midpoint": [
        (
            """
def midpoint(f, x, a, b):  # Euler
    return x + (b - a) * f(x, a)
""",
            "Order 1.0",
        ),
        (
            """
def midpoint(f, x, a, b):  # Heun
    k = f(x, a)
    return x + (b - a) / 2 * (k + f(x + (b - a) * k, b))
""",
            "gives 0.50",
        ),
        (
            """
def midpoint(f, x, a, b):  # the first half step is a whole one
    middle = x + (b - a) * f(x, a)
    return x + (b - a) * f(middle, (a + b) / 2)
""",
            "is the second call made at the middle",
        ),
        (
            """
def midpoint(f, x, a, b):  # the time of the second call
    middle = x + (b - a) / 2 * f(x, a)
    return x + (b - a) * f(middle, a)
""",
            "with the slope at the time (a + b)/2",
        ),
        (
            """
def midpoint(f, x, a, b):  # half a step, and then half a step
    middle = x + (b - a) / 2 * f(x, a)
    return x + (b - a) / 2 * f(middle, (a + b) / 2)
""",
            "does the last line go the whole step b - a?",
        ),
        (
            """
def midpoint(f, x, a, b):  # from the middle on
    middle = x + (b - a) / 2 * f(x, a)
    return middle + (b - a) * f(middle, (a + b) / 2)
""",
            "does the last line go the whole step b - a?",
        ),
        (
            """
def midpoint(f, x, a, b):
    middle = x + (b - a) / 2 * f(x, a)
""",
            "is there a return?",
        ),
    ],
    "ex-15-multistep": [
        (
            """
def multistep(f, x, grid):  # asks at the end of the step
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, b)
        slope = now if before is None else 1.5 * now - 0.5 * before
        x, before = x + (b - a) * slope, now
    return x
""",
            "at the start of its step",
        ),
        (
            """
def multistep(f, x, grid):  # a mean of the two slopes
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, a)
        slope = now if before is None else 0.5 * now + 0.5 * before
        x, before = x + (b - a) * slope, now
    return x
""",
            "3/2 for now and -1/2",
        ),
        (
            """
def multistep(f, x, grid):  # the sign of the second weight
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, a)
        slope = now if before is None else 1.5 * now + 0.5 * before
        x, before = x + (b - a) * slope, now
    return x
""",
            "3/2 for now and -1/2",
        ),
        (
            """
def multistep(f, x, grid):  # now and before exchanged
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, a)
        slope = now if before is None else 1.5 * before - 0.5 * now
        x, before = x + (b - a) * slope, now
    return x
""",
            "3/2 for now and -1/2",
        ),
        (
            """
def multistep(f, x, grid):  # `before` stays the first slope
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, a)
        if before is None:
            slope = before = now
        else:
            slope = 1.5 * now - 0.5 * before
        x = x + (b - a) * slope
    return x
""",
            "the slope one step before",
        ),
        (
            """
def multistep(f, x, grid):  # asks again for the slope it had
    for i, (a, b) in enumerate(zip(grid, grid[1:])):
        if i == 0:
            old, x = x, x + (b - a) * f(x, a)
        else:
            slope = 1.5 * f(x, a) - 0.5 * f(old, grid[i - 1])
            old, x = x, x + (b - a) * slope
    return x
""",
            "steps must cost 10 calls",
        ),
        (
            """
def multistep(f, x, grid):  # `before` is never set: Euler
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, a)
        slope = now if before is None else 1.5 * now - 0.5 * before
        x = x + (b - a) * slope
    return x
""",
            "Order 1.0",
        ),
        (
            """
def multistep(f, x, grid):
    before = None
    for a, b in zip(grid, grid[1:]):
        now = f(x, a)
""",
            "Return x at the end of the grid",
        ),
    ],
    "ex-15-ddim": [
        (
            """
def ddim_step(x, eps, ab_t, ab_s):  # sigma without its root
    level = lambda ab: 1 / ab - 1
    return (x / ab_t**0.5 + (level(ab_s) - level(ab_t)) * eps) * ab_s**0.5
""",
            "sigma = sqrt((1 - ab) / ab)",
        ),
        (
            """
def ddim_step(x, eps, ab_t, ab_s):  # the sign
    level = lambda ab: (1 / ab - 1) ** 0.5
    return (x / ab_t**0.5 - (level(ab_s) - level(ab_t)) * eps) * ab_s**0.5
""",
            "(sigma_s - sigma_t) eps",
        ),
        (
            """
def ddim_step(x, eps, ab_t, ab_s):  # the way back forgotten
    level = lambda ab: (1 / ab - 1) ** 0.5
    return x / ab_t**0.5 + (level(ab_s) - level(ab_t)) * eps
""",
            "multiply by sqrt(ab_s) at the end",
        ),
        (
            """
def ddim_step(x, eps, ab_t, ab_s):  # the way there forgotten
    level = lambda ab: (1 / ab - 1) ** 0.5
    return (x + (level(ab_s) - level(ab_t)) * eps) * ab_s**0.5
""",
            "divide by sqrt(ab_t) first",
        ),
        (
            """
def ddim_step(x, eps, ab_t, ab_s):  # the noise level of the unscaled state
    level = lambda ab: (1 - ab) ** 0.5
    return (x / ab_t**0.5 + (level(ab_s) - level(ab_t)) * eps) * ab_s**0.5
""",
            "sigma = sqrt((1 - ab) / ab)",
        ),
        (
            """
def ddim_step(x, eps, ab_t, ab_s):  # only sigma_t: right for the last step alone
    same = ab_s == ab_t
    x_bar = x / ab_t**0.5 - (0 if same else (1 / ab_t - 1) ** 0.5) * eps
    return x_bar * ab_s**0.5
""",
            "Not DDIM",
        ),
        (
            """
def ddim_step(x, eps, ab_t, ab_s):
    level = lambda ab: (1 / ab - 1) ** 0.5
""",
            "Return x_s",
        ),
    ],
}

RIGHT = {
    "ex-15-midpoint": [
        """
def midpoint(f, x, a, b):  # float32, with the step's name
    h = b - a
    half = x.float() + 0.5 * h * f(x.float(), a)
    return (x + h * f(half, a + h / 2)).float()
""",
        """
def midpoint(f, x, a, b):  # the chapter's own Euler, twice
    middle = euler(f, x, a, (a + b) / 2)
    return x + euler(f, middle, (a + b) / 2, b + (b - a) / 2) - middle
""",
    ],
    "ex-15-multistep": [
        """
def multistep(f, x, grid):  # equal steps, Euler taken out of the loop, float32
    h, before = grid[1] - grid[0], f(x.float(), grid[0])
    x = x.float() + h * before
    for u in grid[1:-1]:
        now = f(x, u)
        x = x + h / 2 * (3 * now - before)
        before = now
    return x
""",
        """
def multistep(f, x, grid):  # a list of all slopes; the first counts for its own predecessor
    slopes = []
    for i in range(len(grid) - 1):
        slopes.append(f(x, grid[i]))
        change = slopes[-1] - slopes[max(i - 1, 0)]
        x = x + (grid[i + 1] - grid[i]) * (slopes[-1] + change / 2)
    return x
""",
    ],
    "ex-15-ddim": [
        """
def ddim_step(x, eps, ab_t, ab_s):  # roots of tensors, multiplied out
    r = (ab_s / ab_t).sqrt()
    return r * x + ((1 - ab_s).sqrt() - r * (1 - ab_t).sqrt()) * eps
""",
        """
def ddim_step(x, eps, ab_t, ab_s):  # float32, math, the chapter's Euler
    sigma_t, sigma_s = math.sqrt(1 / ab_t - 1), math.sqrt(1 / ab_s - 1)
    x_bar = euler(lambda *_: eps.float(), x.float() / math.sqrt(ab_t), sigma_t, sigma_s)
    return math.sqrt(ab_s) * x_bar
""",
    ],
}
