"""Wrong and right answers to the code exercises of chapter 2."""

WRONG = {
    "ex-02-skip": [
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = ab_t / ab_s
    mean = (ab_s**0.5 * (1 - a) * x0 + a**0.5 * (1 - ab_s) * xt) / (1 - ab_t)
    return mean, ((1 - ab_s) * (1 - a) / (1 - ab_t)) ** 0.5
""",
            "That is the standard deviation",
        ),
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = ab_t
    mean = (ab_s**0.5 * (1 - a) * x0 + a**0.5 * (1 - ab_s) * xt) / (1 - ab_t)
    return mean, (1 - ab_s) * (1 - a) / (1 - ab_t)
""",
            "alpha_t becomes a = ab_t/ab_s",
        ),
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = ab_t / ab_s
    mean = (ab_s * (1 - a) * x0 + a * (1 - ab_s) * xt) / (1 - ab_t)
    return mean, (1 - ab_s) * (1 - a) / (1 - ab_t)
""",
            "The weight of x_0 is wrong",
        ),
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = ab_t / ab_s
    mean = (ab_s**0.5 * (1 - a) * x0 + a * (1 - ab_s) * xt) / (1 - ab_t)
    return mean, (1 - ab_s) * (1 - a) / (1 - ab_t)
""",
            "The weight of x_t is wrong",
        ),
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = ab_t / ab_s
    mean = (ab_s**0.5 * (1 - a) * xt + a**0.5 * (1 - ab_s) * x0) / (1 - ab_t)
    return mean, (1 - ab_s) * (1 - a) / (1 - ab_t)
""",
            "The weight of x_0 is wrong",
        ),
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = ab_t / ab_s
    return (ab_s**0.5 * (1 - a) * x0 + a**0.5 * (1 - ab_s) * xt) / (1 - ab_t)
""",
            "Return a pair",
        ),
        (
            """
def skip_posterior(x0, xt, ab_s, ab_t):
    q = md.posterior(schedule, x0, xt, 900, 300)
    return q.mean, q.var.mean()
""",
            "From t = 250 to s = 100",
        ),
    ],
    "ex-02-variance": [
        (
            """
def reverse_variance(t, v):
    return schedule.beta_tilde[t] + v * (schedule.beta[t] - schedule.beta_tilde[t])
""",
            "is your Var[x_0 | x_t] that of a Gaussian pair",
        ),
        (
            """
def reverse_variance(t, v):
    ab, before, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.beta[t]
    c = before.sqrt() * beta / (1 - ab)
    return schedule.beta_tilde[t] + c**2 * v
""",
            "is your Var[x_0 | x_t] that of a Gaussian pair, less than v",
        ),
        (
            """
def reverse_variance(t, v):
    ab, before, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.beta[t]
    var_data = v * (1 - ab) / (ab * v + 1 - ab)
    c = before.sqrt() * beta / (1 - ab)
    return schedule.beta_tilde[t] + c * var_data
""",
            "is c_t squared",
        ),
        (
            """
def reverse_variance(t, v):
    return schedule.beta[t]
""",
            "For v = 0 the data are a point",
        ),
        (
            """
def reverse_variance(t, v):
    return schedule.beta_tilde[t]
""",
            "beta_tilde_t + c_t^2 Var[x_0 | x_t]",
        ),
        (
            """
def reverse_variance(t, v):
    ab, before, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.beta[t]
    var_data = v * (1 - ab) / (ab * v + 1 - ab)
    c = before.sqrt() * beta / (1 - ab)
    schedule.beta_tilde[t] + c**2 * var_data
""",
            "your function gives None",
        ),
    ],
    "ex-02-score": [
        (
            """
def mean_from_score(xt, beta, score):
    return (xt - beta * score(xt)) / (1 - beta) ** 0.5
""",
            "The score is added",
        ),
        (
            """
def mean_from_score(xt, beta, score):
    return (xt + beta * score(xt)) / (1 - beta)
""",
            "by the root of 1 - beta",
        ),
        (
            """
def mean_from_score(xt, beta, score):
    return xt / (1 - beta) ** 0.5 + beta * score(xt) / (1 - beta)
""",
            "t = 200: expected",
        ),
        (
            """
def mean_from_score(xt, beta, score):
    return xt + beta * score(xt) / (1 - beta) ** 0.5
""",
            "The division is for both parts",
        ),
        (
            """
def mean_from_score(xt, beta, score):
    return (xt + beta**0.5 * score(xt)) / (1 - beta) ** 0.5
""",
            "not by its root",
        ),
        (
            """
def mean_from_score(xt, beta, score):
    return xt / (1 - beta) ** 0.5
""",
            "The score plays no part",
        ),
        (
            """
def mean_from_score(xt, beta, score):
    return xt + beta * score(xt)
""",
            "The factor 1 / sqrt(1 - beta) is missing",
        ),
    ],
    "ex-02-largest": [
        (
            """
def largest_step(tolerance):
    low, high = 0.0005, 0.5
    for _ in range(5):
        middle = (low + high) / 2
        if kl_to_gaussian(log_prior, 0.5, middle) < tolerance:
            low = middle
        else:
            high = middle
    return low
""",
            "the KL is",
        ),
        (
            """
def largest_step(tolerance):
    low, high = 0.0005, 0.5
    for _ in range(30):
        middle = (low * high) ** 0.5
        if kl_to_gaussian(log_prior, 0.5, middle) < tolerance:
            high = middle
        else:
            low = middle
    return low
""",
            "the KL is",
        ),
        (
            """
def largest_step(tolerance):
    return tolerance ** (1 / 3)
""",
            "the KL is",
        ),
        (
            """
def largest_step(tolerance):
    beta = 0.5
    while kl_to_gaussian(log_prior, 0.5, beta) > tolerance:
        beta = beta / 2
    return kl_to_gaussian(log_prior, 0.5, beta) - tolerance
""",
            "is not between",
        ),
    ],
}

RIGHT = {
    "ex-02-skip": [
        """
def skip_posterior(x0, xt, ab_s, ab_t):
    ab_s, ab_t = float(ab_s), float(ab_t)
    keep = math.sqrt(ab_t / ab_s)
    cov = keep * (1 - ab_s)  # of x_s and x_t, given x_0
    mean = math.sqrt(ab_s) * x0 + cov / (1 - ab_t) * (xt - math.sqrt(ab_t) * x0)
    return mean, 1 - ab_s - cov**2 / (1 - ab_t)
""",
        """
def skip_posterior(x0, xt, ab_s, ab_t):
    a = (ab_t / ab_s).float()
    precision = a / (1 - a) + 1 / (1 - ab_s.float())
    mean = a.sqrt() / (1 - a) * xt.float() + ab_s.sqrt() / (1 - ab_s) * x0.float()
    return mean / precision, (1 / precision).expand(x0.shape)
""",
    ],
    "ex-02-variance": [
        """
def reverse_variance(t, v):
    before = v * schedule.alpha_bar[t - 1] + 1 - schedule.alpha_bar[t - 1]  # Var[x_{t-1}]
    now = v * schedule.alpha_bar[t] + 1 - schedule.alpha_bar[t]
    return before * schedule.beta[t] / now
""",
        """
def reverse_variance(t, v):
    ab, before = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[t - 1])
    beta = 1 - ab / before
    spread = v * before + 1 - before
    cov = math.sqrt(1 - beta) * spread
    return spread - cov**2 / (v * ab + 1 - ab)
""",
        """
def reverse_variance(t, v):
    before = schedule.alpha_bar[t - 1].float()
    prior = torch.tensor(v, dtype=torch.float32) * before + 1 - before
    beta = schedule.beta[t].float()
    return 1 / (1 / prior + (1 - beta) / beta)
""",
    ],
    "ex-02-score": [
        """
def mean_from_score(xt, beta, score):
    return xt / math.sqrt(1 - beta) + beta / math.sqrt(1 - beta) * score(xt)
""",
        """
def mean_from_score(xt, beta, score):
    xt = xt.float()
    return float((xt + beta * score(xt).float()) * (1 - beta) ** -0.5)
""",
    ],
    "ex-02-largest": [
        """
def largest_step(tolerance):
    low, high = 0.0005, 0.5
    while high / low > 1.0001:
        middle = (low + high) / 2
        above = kl_to_gaussian(log_prior, 0.5, middle) > tolerance
        low, high = (low, middle) if above else (middle, high)
    return torch.tensor(high)
""",
        """
def largest_step(tolerance):
    f = lambda u: math.log(kl_to_gaussian(log_prior, 0.5, math.exp(u)) / tolerance)
    u0, u1 = math.log(0.01), math.log(0.1)
    f0, f1 = f(u0), f(u1)
    for _ in range(30):  # secants
        if abs(f1) < 1e-6:
            break
        u2 = min(max(u1 - f1 * (u1 - u0) / (f1 - f0), math.log(0.0006)), math.log(0.49))
        u0, f0, u1, f1 = u1, f1, u2, f(u2)
    return math.exp(u1)
""",
    ],
}
