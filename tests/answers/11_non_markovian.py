"""Wrong and right answers to the exercises of chapter 11."""

WRONG = {
    "ex-11-step": [
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # sigma without its square
    eps = (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
    return math.sqrt(ab_s) * x0 + math.sqrt(1 - ab_s - sigma) * eps + sigma * z
""",
            "sqrt(1 - ab_s - sigma**2)",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # the old noise keeps all its variance
    eps = (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
    return math.sqrt(ab_s) * x0 + math.sqrt(1 - ab_s) * eps + sigma * z
""",
            "sqrt(1 - ab_s - sigma**2)",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # variance for standard deviation
    eps = (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
    return math.sqrt(ab_s) * x0 + math.sqrt(1 - ab_s - sigma**2) * eps + sigma**2 * z
""",
            "The fresh noise must be sigma * z",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # no root where eps is solved for
    eps = (xt - math.sqrt(ab_t) * x0) / (1 - ab_t)
    return math.sqrt(ab_s) * x0 + math.sqrt(1 - ab_s - sigma**2) * eps + sigma * z
""",
            "how you solve for eps",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # fresh noise for the noise in x_t
    return math.sqrt(ab_s) * x0 + math.sqrt(1 - ab_s - sigma**2) * z + sigma * z
""",
            "with the eps that is in x_t",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # t and s exchanged
    eps = (xt - math.sqrt(ab_s) * x0) / math.sqrt(1 - ab_s)
    return math.sqrt(ab_t) * x0 + math.sqrt(1 - ab_t - sigma**2) * eps + sigma * z
""",
            "sqrt(ab_s) x_0 + sqrt(1 - ab_s) eps",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):
    eps = (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
""",
            "Return x_s",
        ),
        (
            """
def step(x0, xt, ab_t, ab_s, sigma, z):  # made for the first trial alone
    mean = q_sigma(x0, xt, 400, 200, sigma)[0]
    return mean + sigma * z
""",
            "how you solve for eps",
        ),
    ],
    "ex-11-kernel": [
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):  # rho without its root
    rho = 1 - sigma**2 / (1 - ab_s)
    b = rho * math.sqrt((1 - ab_t) / (1 - ab_s))
    return b, math.sqrt(ab_t) - b * math.sqrt(ab_s), (1 - rho**2) * (1 - ab_t)
""",
            "b, the factor of x_s",
        ),
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):  # x_0 is counted twice
    rho = math.sqrt(1 - sigma**2 / (1 - ab_s))
    b = rho * math.sqrt((1 - ab_t) / (1 - ab_s))
    return b, math.sqrt(ab_t), (1 - rho**2) * (1 - ab_t)
""",
            "c, the factor of x_0",
        ),
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):  # the standard deviation
    rho = math.sqrt(1 - sigma**2 / (1 - ab_s))
    b = rho * math.sqrt((1 - ab_t) / (1 - ab_s))
    return b, math.sqrt(ab_t) - b * math.sqrt(ab_s), math.sqrt((1 - rho**2) * (1 - ab_t))
""",
            "the variance is (1 - rho^2)(1 - ab_t)",
        ),
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):  # the variance of the reverse step
    rho = math.sqrt(1 - sigma**2 / (1 - ab_s))
    b = rho * math.sqrt((1 - ab_t) / (1 - ab_s))
    return b, math.sqrt(ab_t) - b * math.sqrt(ab_s), sigma**2
""",
            "the variance is (1 - rho^2)(1 - ab_t)",
        ),
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):  # DDPM's step, whatever sigma is
    return math.sqrt(ab_t / ab_s), 0.0, 1 - ab_t / ab_s
""",
            "b, the factor of x_s",
        ),
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):  # c and b exchanged
    rho = math.sqrt(1 - sigma**2 / (1 - ab_s))
    b = rho * math.sqrt((1 - ab_t) / (1 - ab_s))
    return math.sqrt(ab_t) - b * math.sqrt(ab_s), b, (1 - rho**2) * (1 - ab_t)
""",
            "b, the factor of x_s",
        ),
        (
            """
def forward_coefficients(ab_s, ab_t, sigma):
    rho = math.sqrt(1 - sigma**2 / (1 - ab_s))
    b = rho * math.sqrt((1 - ab_t) / (1 - ab_s))
    return b, math.sqrt(ab_t) - b * math.sqrt(ab_s)
""",
            "Return three",
        ),
    ],
    "ex-11-two-frames": [
        (
            """
def solve_two(xs, xt, ab_s, ab_t):  # r without its root
    r_s, r_t = ab_s / (1 - ab_s), ab_t / (1 - ab_t)
    x0 = (xs / math.sqrt(1 - ab_s) - xt / math.sqrt(1 - ab_t)) / (r_s - r_t)
    return x0, (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
""",
            "x_0 is wrong",
        ),
        (
            """
def solve_two(xs, xt, ab_s, ab_t):  # the sign
    r_s, r_t = math.sqrt(ab_s / (1 - ab_s)), math.sqrt(ab_t / (1 - ab_t))
    x0 = (xs / math.sqrt(1 - ab_s) - xt / math.sqrt(1 - ab_t)) / (r_t - r_s)
    return x0, (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t)
""",
            "yours is -1 times the right one",
        ),
        (
            """
def solve_two(xs, xt, ab_s, ab_t):  # eps first
    r_s, r_t = math.sqrt(ab_s / (1 - ab_s)), math.sqrt(ab_t / (1 - ab_t))
    x0 = (xs / math.sqrt(1 - ab_s) - xt / math.sqrt(1 - ab_t)) / (r_s - r_t)
    return (xt - math.sqrt(ab_t) * x0) / math.sqrt(1 - ab_t), x0
""",
            "return x_0 first",
        ),
        (
            """
def solve_two(xs, xt, ab_s, ab_t):  # eps is solved for without a root
    r_s, r_t = math.sqrt(ab_s / (1 - ab_s)), math.sqrt(ab_t / (1 - ab_t))
    x0 = (xs / math.sqrt(1 - ab_s) - xt / math.sqrt(1 - ab_t)) / (r_s - r_t)
    return x0, (xt - math.sqrt(ab_t) * x0) / (1 - ab_t)
""",
            "x_0 is right, eps is wrong",
        ),
        (
            """
def solve_two(xs, xt, ab_s, ab_t):  # only x_0
    r_s, r_t = math.sqrt(ab_s / (1 - ab_s)), math.sqrt(ab_t / (1 - ab_t))
    return (xs / math.sqrt(1 - ab_s) - xt / math.sqrt(1 - ab_t)) / (r_s - r_t)
""",
            "Return two things",
        ),
    ],
    "ex-11-hat": [
        (
            """
def excess(ab, tau):  # the variance itself
    var = float(1 - ab[tau[0]])
    for t, s in zip(tau, tau[1:]):
        hat = 1 - float(ab[t] / ab[s])
        small = float((1 - ab[s]) / (1 - ab[t])) * hat
        var = float((1 - ab[s] - small) / (1 - ab[t])) * var + hat
    return var
""",
            "divide it by 1 - ab_s",
        ),
        (
            """
def excess(ab, tau):  # the mean made for sigma-hat
    var = float(1 - ab[tau[0]])
    for t, s in zip(tau, tau[1:]):
        hat = 1 - float(ab[t] / ab[s])
        var = float((1 - ab[s] - hat) / (1 - ab[t])) * var + hat
    return var / float(1 - ab[tau[-1]])
""",
            "(1 - ab_s - beta_tilde)",
        ),
        (
            """
def excess(ab, tau):  # B, not its square
    var = float(1 - ab[tau[0]])
    for t, s in zip(tau, tau[1:]):
        hat = 1 - float(ab[t] / ab[s])
        small = float((1 - ab[s]) / (1 - ab[t])) * hat
        var = math.sqrt((1 - ab[s] - small) / (1 - ab[t])) * var + hat
    return var / float(1 - ab[tau[-1]])
""",
            "In each step B^2",
        ),
        (
            """
def excess(ab, tau):  # only the last step
    t, s = tau[-2], tau[-1]
    hat = 1 - float(ab[t] / ab[s])
    small = float((1 - ab[s]) / (1 - ab[t])) * hat
    return (float(1 - ab[s]) - small + hat) / float(1 - ab[s])
""",
            "From 1000 to 100 in 2 steps",
        ),
        (
            """
def excess(ab, tau):  # the right variance: nothing is in excess
    return 1.0
""",
            "From 500 to 200 in 1 steps",
        ),
        (
            """
def excess(ab, tau):
    var = float(1 - ab[tau[0]])
    for t, s in zip(tau, tau[1:]):
        hat = 1 - float(ab[t] / ab[s])
        small = float((1 - ab[s]) / (1 - ab[t])) * hat
        var = float((1 - ab[s] - small) / (1 - ab[t])) * var + hat
""",
            "is there a return?",
        ),
    ],
}

RIGHT = {
    "ex-11-step": [
        """
def step(x0, xt, ab_t, ab_s, sigma, z):  # the levels' places looked up, then the chapter's own code
    t, s = (int((ab - a).abs().argmin()) for a in (ab_t, ab_s))
    mean = q_sigma(x0, xt, t, s, sigma)[0]
    return mean + sigma * z
""",
        """
def step(x0, xt, ab_t, ab_s, sigma, z):  # float32, roots of tensors
    k = ((1 - ab_s - sigma**2) / (1 - ab_t)).sqrt()
    return ((ab_s.sqrt() - k * ab_t.sqrt()) * x0 + k * xt + sigma * z).float()
""",
        """
def step(x0, xt, ab_t, ab_s, sigma, z):  # numbers
    ab_t, ab_s = float(ab_t), float(ab_s)
    eps = (xt - ab_t**0.5 * x0) / (1 - ab_t) ** 0.5
    return ab_s**0.5 * x0 + (1 - ab_s - sigma * sigma) ** 0.5 * eps + sigma * z
""",
    ],
    "ex-11-kernel": [
        """
def forward_coefficients(ab_s, ab_t, sigma):  # Bayes, in float32
    ab_s, ab_t = ab_s.float(), ab_t.float()
    keep = (1 - ab_s - sigma**2).sqrt()
    b = (1 - ab_t).sqrt() * keep / (1 - ab_s)
    return b, ab_t.sqrt() - b * ab_s.sqrt(), (1 - ab_t) * sigma**2 / (1 - ab_s)
""",
        """
def forward_coefficients(ab_s, ab_t, sigma):  # numbers, in a list
    ab_s, ab_t = float(ab_s), float(ab_t)
    b = ((1 - ab_s - sigma**2) * (1 - ab_t)) ** 0.5 / (1 - ab_s)
    return [b, ab_t**0.5 - b * ab_s**0.5, 1 - ab_t - b**2 * (1 - ab_s)]
""",
    ],
    "ex-11-two-frames": [
        """
def solve_two(xs, xt, ab_s, ab_t):  # Cramer's rule
    a_s, b_s, a_t, b_t = ab_s.sqrt(), (1 - ab_s).sqrt(), ab_t.sqrt(), (1 - ab_t).sqrt()
    det = a_s * b_t - a_t * b_s
    return [(b_t * xs - b_s * xt) / det, (a_s * xt - a_t * xs) / det]
""",
        """
def solve_two(xs, xt, ab_s, ab_t):  # a linear system, in float32
    rows = [[math.sqrt(a), math.sqrt(1 - a)] for a in (ab_s, ab_t)]
    both = torch.stack([xs.flatten(), xt.flatten()]).float()
    x0, eps = torch.linalg.solve(torch.tensor(rows), both)
    return x0.reshape(xs.shape), eps.reshape(xs.shape)
""",
    ],
    "ex-11-hat": [
        """
def excess(ab, tau):  # tensors, B from the usual posterior mean
    var = 1 - ab[tau[0]]
    for t, s in zip(tau[:-1], tau[1:]):
        a = ab[t] / ab[s]
        B = a.sqrt() * (1 - ab[s]) / (1 - ab[t])
        var = B**2 * var + 1 - a
    return var / (1 - ab[tau[-1]])
""",
        """
def excess(ab, tau):  # the ratio itself is carried along
    ratio = 1.0
    for t, s in zip(tau, tau[1:]):
        a, at, as_ = float(ab[t] / ab[s]), float(ab[t]), float(ab[s])
        ratio = a * (1 - as_) / (1 - at) * ratio + (1 - a) / (1 - as_)
    return ratio
""",
    ],
}
