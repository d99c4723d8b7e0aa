"""Wrong and right answers to the code exercises of chapter 4."""

WRONG = {
    "ex-04-mean": [
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return (xt - beta_t * eps) / alpha_t**0.5
""",
            "not used alone",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return (xt - beta_t / (1 - alpha_bar_t) * eps) / alpha_t**0.5
""",
            "by the root of 1 - alpha_bar_t",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return (xt + beta_t / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_t**0.5
""",
            "The noise is taken away",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return (xt - beta_t / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_bar_t**0.5
""",
            "Mind sqrt(alpha_t) outside",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return (xt - beta_t / (1 - alpha_t) ** 0.5 * eps) / alpha_t**0.5
""",
            "alpha_bar_t inside",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return xt - beta_t / (1 - alpha_bar_t) ** 0.5 * eps
""",
            "sqrt(alpha_t) outside",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    return (xt - (1 - alpha_bar_t) ** 0.5 * eps) / alpha_bar_t**0.5
""",
            "this is not mu_tilde",
        ),
        (
            """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    mean = (xt - beta_t / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_t**0.5
""",
            "Return the mean",
        ),
    ],
    "ex-04-v": [
        (
            """
def from_v(xt, v, alpha_bar_t):
    c, s = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    eps = s * xt + c * v
    return (xt - s * eps) / c, eps
""",
            "you divide by 0",
        ),
        (
            """
def from_v(xt, v, alpha_bar_t):
    c, s = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    x0 = c * xt - s * v
    return x0, (xt - c * x0) / s
""",
            "you divide by 0",
        ),
        (
            """
def from_v(xt, v, alpha_bar_t):
    c, s = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    return s * xt + c * v, c * xt - s * v
""",
            "x0 comes first",
        ),
        (
            """
def from_v(xt, v, alpha_bar_t):
    c, s = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    return c * xt + s * v, s * xt - c * v
""",
            "turn them back",
        ),
        (
            """
def from_v(xt, v, alpha_bar_t):
    return alpha_bar_t * xt - (1 - alpha_bar_t) * v, (1 - alpha_bar_t) * xt + alpha_bar_t * v
""",
            "x0 is wrong at alpha_bar = 0.9999",
        ),
        (
            """
def from_v(xt, v, alpha_bar_t):
    return alpha_bar_t**0.5 * xt - (1 - alpha_bar_t) ** 0.5 * v
""",
            "Return a pair",
        ),
    ],
    "ex-04-hidden": [
        (
            """
def weights_of_x0(schedule):
    return md.weights_vlb(schedule, "large")
""",
            "You have the weight of the noise error",
        ),
        (
            """
def weights_of_x0(schedule):
    return md.weights_vlb(schedule, "large") * schedule.snr.sqrt()
""",
            "The errors are squared",
        ),
        (
            """
def weights_of_x0(schedule):
    return md.weights_vlb(schedule, "large") / schedule.snr
""",
            "by the square of the factor from x0 to eps",
        ),
        (
            """
def weights_of_x0(schedule):
    return md.weights_vlb(schedule, "small") * schedule.snr
""",
            "for sigma_t^2 = beta_t",
        ),
        (
            """
def weights_of_x0(schedule):
    return (md.weights_vlb(schedule, "large") * schedule.snr)[1:]
""",
            "yours has 1000",
        ),
        (
            """
def weights_of_x0(schedule):
    return torch.cat([torch.ones(1), (md.weights_vlb(schedule, "large") * schedule.snr)[:-1]])
""",
            "the divergence is",
        ),
        (
            """
def weights_of_x0(_):
    return md.weights_vlb(schedule, "large") * schedule.snr
""",
            "needs T + 1 = 61 entries",
        ),
        (
            """
def weights_of_x0(given):
    beta = torch.cat([torch.ones(1), torch.linspace(1e-4, 0.02, given.T)])
    ab = given.alpha_bar
    return beta * ab / (2 * (1 - beta) * (1 - ab) ** 2)
""",
            "At t = 40 your weight gives",
        ),
    ],
}

RIGHT = {
    "ex-04-mean": [
        """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    before = alpha_bar_t / alpha_t
    x0 = (xt - math.sqrt(1 - alpha_bar_t) * eps) / math.sqrt(alpha_bar_t)
    mean = math.sqrt(before) * beta_t * x0 + math.sqrt(alpha_t) * (1 - before) * xt
    return mean / (1 - alpha_bar_t)
""",
        """
def mean_from_eps(xt, eps, alpha_t, beta_t, alpha_bar_t):
    score = -eps.float() / math.sqrt(1 - alpha_bar_t)
    return (xt.float() + beta_t * score) * alpha_t**-0.5
""",
    ],
    "ex-04-v": [
        """
def from_v(xt, v, alpha_bar_t):
    angle = math.acos(math.sqrt(alpha_bar_t))
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=xt.dtype
    )
    x0, eps = torch.einsum("ij,j...->i...", turn, torch.stack([xt, v]))
    return x0, eps
""",
        """
def from_v(xt, v, alpha_bar_t):
    xt, v, a = xt.float(), v.float(), alpha_bar_t.float()
    return a.sqrt() * xt - (1 - a).sqrt() * v, (1 - a).sqrt() * xt + a.sqrt() * v
""",
        """
def from_v(xt, v, alpha_bar_t):
    c, s = math.sqrt(alpha_bar_t), math.sqrt(1 - alpha_bar_t)
    x0 = c * xt - s * v
    return x0, v * c + xt * s
""",
    ],
    "ex-04-hidden": [
        """
def weights_of_x0(schedule):
    table = [0.0, 0.0]
    for t in range(2, schedule.T + 1):
        beta, ab = float(schedule.beta[t]), float(schedule.alpha_bar[t])
        pull = math.sqrt(float(schedule.alpha_bar[t - 1])) * beta / (1 - ab)  # of x0 on mu_tilde
        table.append(pull**2 / (2 * beta))
    return table
""",
        """
def weights_of_x0(schedule):
    ab, beta = schedule.alpha_bar, schedule.beta
    w = beta / (2 * schedule.alpha * (1 - ab))
    return (w * ab / (1 - ab)).float()
""",
        """
def weights_of_x0(schedule):
    r = schedule.beta_tilde / schedule.beta
    fall = torch.cat([torch.full((1,), torch.nan), -schedule.snr.diff()])
    return r * fall / 2
""",
    ],
}
