"""Wrong and right answers to the code exercises of chapter 1."""

WRONG = {
    "ex-01-diffuse": [
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t - 1].reshape(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps
""",
            "off by one",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a) * eps
""",
            "its factor is sqrt(1 - alpha_bar_t)",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return a * x0 + (1 - a) * eps
""",
            "Without noise, x_t is sqrt(alpha_bar_t) x_0",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t[0]]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps
""",
            "each image with its own t",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t].reshape(1, -1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps
""",
            "should stay (4, 1, 8, 8)",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return a.sqrt() * x0 - (1 - a).sqrt() * eps
""",
            "the noise is not",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
""",
            "Return x_t",
        ),
        (
            """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar[t].reshape(4, 1, 1, 1)  # the size of the first trial
    return a.sqrt() * x0 + (1 - a).sqrt() * eps
""",
            "size 2",
        ),
    ],
    "ex-01-published-bug": [
        (
            """
def noising_step(x, beta_t, generator):
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x + math.sqrt(beta_t) * noise
""",
            "keep the factor of the image",
        ),
        (
            """
def noising_step(x, beta_t, generator):
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return (1 - beta_t) * x + math.sqrt(beta_t) * noise
""",
            "keep the factor of the image",
        ),
        (
            """
def noising_step(x, beta_t, generator):
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return math.sqrt(1 - beta_t**2) * x + math.sqrt(beta_t) * noise
""",
            "keep the factor of the image",
        ),
        (
            """
def noising_step(x, beta_t, generator):
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return math.sqrt(1 - beta_t) * x + beta_t * noise
""",
            "the noise has std 0.040; 0.2 is right",
        ),
        (
            """
def noising_step(x, beta_t, generator):
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype)
    return math.sqrt(1 - beta_t) * x + math.sqrt(beta_t) * noise
""",
            "rand does not",
        ),
        (
            """
def noising_step(x, beta_t, generator):
    noise = math.sqrt(12) * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)
    return math.sqrt(1 - beta_t) * x + math.sqrt(beta_t) * noise
""",
            "the shape of a Gaussian is missing",
        ),
        (
            """
def noising_step(x, beta_t, generator):
    return math.sqrt(1 - beta_t) * x + math.sqrt(beta_t) * torch.randn_like(x)
""",
            "draw it from the generator",
        ),
    ],
    "ex-01-jump": [
        (
            """
def jump(alpha_bar, s, t):
    a = alpha_bar[t] / alpha_bar[s]
    return a.sqrt(), (1 - a).sqrt()
""",
            "the variance, the second of the pair",
        ),
        (
            """
def jump(alpha_bar, s, t):
    a = alpha_bar[t] / alpha_bar[s]
    return a, 1 - a
""",
            "did you take the square root",
        ),
        (
            """
def jump(alpha_bar, s, t):
    a = alpha_bar[t]
    return a.sqrt(), 1 - a
""",
            "did you divide alpha_bar_t by alpha_bar_s",
        ),
        (
            """
def jump(alpha_bar, s, t):
    return (alpha_bar[t] / alpha_bar[s]).sqrt(), alpha_bar[s] - alpha_bar[t]
""",
            "did you divide alpha_bar_t by alpha_bar_s",
        ),
        (
            """
def jump(alpha_bar, s, t):
    return alpha_bar[t].sqrt(), 1 - alpha_bar[t] / alpha_bar[s]
""",
            "does s matter",
        ),
        (
            """
def jump(alpha_bar, s, t):
    return 1 - alpha_bar[t] / alpha_bar[s]
""",
            "Return a pair",
        ),
    ],
    "ex-01-own-schedule": [
        (
            """
def straight_alpha_bar(T):
    return torch.linspace(9, -10, T, dtype=torch.float64).sigmoid()
""",
            "T = 100 needs 101 numbers",
        ),
        (
            """
def straight_alpha_bar(T):
    table = torch.linspace(9, -10, T + 1, dtype=torch.float64).sigmoid()
    table[0] = 1
    return table
""",
            "T points, not T + 1",
        ),
        (
            """
def straight_alpha_bar(T):
    return torch.linspace(9, -10, T + 1, dtype=torch.float64).sigmoid()
""",
            "alpha_bar_0 must be 1",
        ),
        (
            """
def straight_alpha_bar(T):
    return torch.cat([torch.ones(1), torch.linspace(9, -10, T).sigmoid()])
""",
            "needs float64",
        ),
        (
            """
def straight_alpha_bar(T):
    ends = torch.tensor([9, -10], dtype=torch.float64).sigmoid()
    return torch.cat([torch.ones(1), torch.linspace(ends[0], ends[1], T, dtype=torch.float64)])
""",
            "not straight",
        ),
        (
            """
def straight_alpha_bar(T):
    log_snr = torch.linspace(9, -10, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), log_snr.exp()])
""",
            "alpha_bar must fall",
        ),
        (
            """
def straight_alpha_bar(T):
    log_snr = torch.linspace(9, -10, 100, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), log_snr.sigmoid()])
""",
            "T = 7 needs 8 numbers",
        ),
    ],
}

RIGHT = {
    "ex-01-diffuse": [
        """
def my_diffuse(alpha_bar, x0, t, eps):
    a = alpha_bar.float()[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0.float() + (1 - a).sqrt() * eps.float()
""",
        """
def my_diffuse(alpha_bar, x0, t, eps):
    out = []
    for image, noise, step in zip(x0, eps, t.tolist()):
        a = float(alpha_bar[step])
        out.append(math.sqrt(a) * image + math.sqrt(1 - a) * noise)
    return torch.stack(out)
""",
        """
def my_diffuse(alpha_bar, x0, t, eps):
    angle = alpha_bar[t].sqrt().acos()
    return torch.einsum("b,bchw->bchw", angle.cos(), x0) + angle.sin()[:, None, None, None] * eps
""",
    ],
    "ex-01-published-bug": [
        """
def noising_step(x, beta_t, generator):
    return (1 - beta_t) ** 0.5 * x + beta_t**0.5 * torch.randn(x.shape, generator=generator)
""",
        """
def noising_step(x, beta_t, generator):
    return torch.normal((1 - beta_t) ** 0.5 * x, math.sqrt(beta_t), generator=generator)
""",
        """
def noising_step(x, beta_t, generator):
    keep = torch.tensor(1 - beta_t, dtype=torch.float32).sqrt()
    noise = torch.empty(x.shape, dtype=torch.float32).normal_(generator=generator)
    return keep * x.float() + (1 - keep**2).sqrt() * noise
""",
    ],
    "ex-01-jump": [
        """
def jump(alpha_bar, s, t):
    a = float(alpha_bar[t]) / float(alpha_bar[s])
    return math.sqrt(a), 1 - a
""",
        """
def jump(alpha_bar, s, t):
    keep = 1.0
    for i in range(s + 1, t + 1):
        keep = keep * alpha_bar.float()[i] / alpha_bar.float()[i - 1]
    return keep**0.5, 1 - keep
""",
        """
def jump(alpha_bar, s, t):
    factor = torch.exp(0.5 * (alpha_bar[t].log() - alpha_bar[s].log()))
    return factor, (1 - alpha_bar[t]) - factor**2 * (1 - alpha_bar[s])
""",
    ],
    "ex-01-own-schedule": [
        """
def straight_alpha_bar(T):
    return [1.0] + [1 / (1 + math.exp(-(9 - 19 * i / (T - 1)))) for i in range(T)]
""",
        """
def straight_alpha_bar(T):
    table = torch.ones(T + 1, dtype=torch.float64)
    snr = (9 - 19 * torch.arange(T, dtype=torch.float64) / (T - 1)).exp()
    table[1:] = snr / (1 + snr)
    return table
""",
    ],
}
