"""Wrong and right answers to the code exercises of chapter 7."""

WRONG = {
    "ex-07-algorithm-1": [
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).sum()
""",
            "the mean of the squares",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(0, len(alpha_bar) - 1, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "yours reach -1 and 98",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t)) ** 2).mean()
""",
            "yours reach 1 and 100",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (1,), generator=generator).expand(len(x0))
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "a t of its own for each image",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    xt = ab.sqrt() * x0 + (1 - ab).sqrt() * torch.randn(x0.shape, generator=generator)
    return ((eps - net(xt, t - 1)) ** 2).mean()
""",
            "same eps in x_t and target",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab * x0 + (1 - ab) * eps, t - 1)) ** 2).mean()
""",
            "square roots of alpha_bar",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((x0 - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "the target is eps",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn_like(x0)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "need `generator`",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, 1, 1, 1).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "For points x0 of shape (8, 2)",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, 101, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "yours reaches 99",
        ),
        (
            """
def training_loss(net, alpha_bar, x0, generator):
    u = torch.rand(len(x0), generator=generator) ** 2
    t = 1 + (u * (len(alpha_bar) - 1)).long()
    eps = torch.randn(x0.shape, generator=generator)
    ab = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)
    return ((eps - net(ab.sqrt() * x0 + (1 - ab).sqrt() * eps, t - 1)) ** 2).mean()
""",
            "equally likely",
        ),
    ],
    "ex-07-step": [
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - at / as_
    x0 = (xt - math.sqrt(1 - at) * eps) / math.sqrt(at)
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * xt
    return mean + math.sqrt((1 - as_) / (1 - at) * beta) * z if t > 1 else mean
""",
            "the mean is the clipped x_0",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - at / as_
    mean = (xt - beta / math.sqrt(1 - at) * eps) / math.sqrt(at / as_)
    if t > 1:
        mean = mean + math.sqrt((1 - as_) / (1 - at) * beta) * z
    return mean.clamp(-1, 1)
""",
            "Clip x_0 first",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - at / as_
    x0 = ((xt - math.sqrt(1 - at) * eps) / math.sqrt(at)).clamp(-1, 1)
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * xt
    return mean + math.sqrt(beta) * z
""",
            "no noise is added",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - at / as_
    x0 = ((xt - math.sqrt(1 - at) * eps) / math.sqrt(at)).clamp(-1, 1)
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * xt
    return mean + math.sqrt(beta) * z if t > 1 else mean
""",
            "sqrt(beta_tilde_t)",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - at / as_
    x0 = ((xt - math.sqrt(1 - at) * eps) / math.sqrt(at)).clamp(-1, 1)
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * xt
    return mean + (1 - as_) / (1 - at) * beta * z if t > 1 else mean
""",
            "sqrt(beta_tilde_t)",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    x0 = ((xt - math.sqrt(1 - at) * eps) / math.sqrt(at)).clamp(-1, 1)
    mean = math.sqrt(as_) * x0 + math.sqrt(1 - as_) * eps
    return mean
""",
            "use the posterior mean",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[t - 1])
    beta = 1 - at / as_
    x0 = ((xt - math.sqrt(1 - at) * eps) / math.sqrt(at)).clamp(-1, 1)
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * xt
    mean + math.sqrt((1 - as_) / (1 - at) * beta) * z if t > 1 else mean
""",
            "Return x_(t-1)",
        ),
        (
            """
def clipped_step(alpha_bar, xt, eps, t, z):
    at, as_ = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[t - 1])
    beta = 1 - at / as_
    x0 = ((xt - math.sqrt(1 - at) * eps) / math.sqrt(at)).clamp(-1, 1)
    mean = math.sqrt(as_) * beta / (1 - at) * x0 + math.sqrt(at / as_) * (1 - as_) / (1 - at) * xt
    return mean + math.sqrt((1 - as_) / (1 - at) * beta) * z if t > 1 else mean
""",
            "at t = 40 of 40",
        ),
    ],
    "ex-07-last-step": [
        (
            """
def noisy_steps(tau):
    return [t != 1 for t in tau[:-1]]
""",
            "Only the step 100 -> 0 arrives at the image",
        ),
        (
            """
def noisy_steps(tau):
    return [True, True, False]
""",
            "5 indices are 4 steps; you answered for 3",
        ),
        (
            """
def noisy_steps(tau):
    return [s != 1 for s in tau[1:]]
""",
            "Only the step 1 -> 0",
        ),
        (
            """
def noisy_steps(tau):
    return [t != 0 for t in tau]
""",
            "4 indices are 3 steps; you answered for 4",
        ),
        (
            """
def noisy_steps(tau):
    return [t > 100 or len(tau) == 4 and t > 1 for t in tau[:-1]]
""",
            "noise in all others",
        ),
        (
            """
def noisy_steps(tau):
    return [s == 0 for s in tau[1:]]
""",
            "no noise there",
        ),
    ],
    "ex-07-ema": [
        (
            """
def averaged(values, decay, start):
    m = start
    for w in values:
        m = decay * m + (1 - decay) * w
    return m
""",
            "the start must be forgotten",
        ),
        (
            """
def averaged(values, decay, start):
    m = start
    for n, w in enumerate(values, 1):
        d = max(decay, 1 - 1 / n)
        m = d * m + (1 - d) * w
    return m
""",
            "the start must be forgotten",
        ),
        (
            """
def averaged(values, decay, start):
    m = start
    for n, w in enumerate(values, 1):
        d = min(decay, 1 - 1 / (n + 1))
        m = d * m + (1 - d) * w
    return m
""",
            "1 - 1/n is 0 for n = 1",
        ),
        (
            """
def averaged(values, decay, start):
    return sum(values) / len(values)
""",
            "the usual average with decay d",
        ),
        (
            """
def averaged(values, decay, start):
    m = values[0]
    for w in values[1:]:
        m = decay * m + (1 - decay) * w
    return m
""",
            "the plain mean of what was seen",
        ),
        (
            """
def averaged(values, decay, start):
    m = start
    for n, w in enumerate(values, 1):
        d = min(0.9, 1 - 1 / n)
        m = d * m + (1 - d) * w
    return m
""",
            "with decay d = 0.5",
        ),
        (
            """
def averaged(values, decay, start):
    m = start
    for n, w in enumerate(values, 1):
        d = min(decay, 1 - 1 / n)
        m = (1 - d) * m + d * w
    return m
""",
            "the start must be forgotten",
        ),
    ],
}

RIGHT = {
    "ex-07-algorithm-1": [
        """
def training_loss(net, alpha_bar, x0, generator):
    B, T = x0.shape[0], len(alpha_bar) - 1
    index = torch.randint(T, (B,), generator=generator)
    eps = torch.empty_like(x0).normal_(generator=generator)
    ab = alpha_bar.float()[index + 1]
    mix = lambda weight, x: torch.einsum("b,b...->b...", weight.sqrt(), x)
    xt = mix(ab, x0) + mix(1 - ab, eps)
    return torch.nn.functional.mse_loss(net(xt, index), eps)
""",
        """
def training_loss(net, alpha_bar, x0, generator):
    eps = torch.randn(x0.shape, generator=generator)
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    xt = []
    for image, noise, step in zip(x0, eps, t.tolist()):
        a = float(alpha_bar[step])
        xt.append(a**0.5 * image + (1 - a) ** 0.5 * noise)
    error = net(torch.stack(xt), t - 1) - eps
    return float(error.square().sum() / error.numel())
""",
        """
def training_loss(net, alpha_bar, x0, generator):
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    xt = md.diffuse(md.Schedule.from_alpha_bar(alpha_bar), x0, t, eps)
    return (net(xt, t - 1) - eps).pow(2).flatten(1).mean(1).mean()
""",
    ],
    "ex-07-step": [
        """
def clipped_step(alpha_bar, xt, eps, t, z):
    a, before = alpha_bar[t], alpha_bar[t - 1]
    alpha, beta = a / before, 1 - a / before
    x0 = ((xt - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
    eps = (xt - a**0.5 * x0) / (1 - a) ** 0.5  # the noise that belongs to the clipped x_0
    mean = (xt - beta / (1 - a) ** 0.5 * eps) / alpha**0.5
    return mean + (t > 1) * ((1 - before) / (1 - a) * beta) ** 0.5 * z
""",
        """
def clipped_step(alpha_bar, xt, eps, t, z):
    table = torch.as_tensor(alpha_bar).double()
    xt, eps, z = xt.double(), eps.double(), z.double()
    x0 = torch.clamp((xt - (1 - table[t]).sqrt() * eps) / table[t].sqrt(), min=-1, max=1)
    if t == 1:
        return x0
    q = md.posterior(md.Schedule.from_alpha_bar(table), x0, xt, t, t - 1)
    return q.mean + q.var.sqrt() * z
""",
    ],
    "ex-07-last-step": [
        """
def noisy_steps(tau):
    return [True] * (len(tau) - 2) + [False]
""",
        """
def noisy_steps(tau):
    return torch.tensor(tau[1:]) > 0
""",
        """
def noisy_steps(tau):
    return tuple(bool(s) for t, s in zip(tau, tau[1:]))
""",
    ],
    "ex-07-ema": [
        """
def averaged(values, decay, start):
    m = torch.tensor(start)
    for n, w in enumerate(values):
        m = m.lerp(torch.tensor(w), max(1 - decay, 1 / (n + 1)))
    return m
""",
        """
def averaged(values, decay, start):
    total = 0.0
    for n, w in enumerate(values, 1):
        if 1 - 1 / n < decay:
            total += w
            m = total / n
        else:
            m += (1 - decay) * (w - m)
    return m
""",
    ],
}
