"""Wrong and right answers to the exercises of chapter 19."""

WRONG = {
    "ex-19-guide": [
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # pushes the other way
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * without - w * with_label
""",
            "You push away from the label",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # the other convention
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return without + w * (with_label - without)
""",
            "strength w - 1",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # two calls
    with_label, without = eps_of(x, t, labels), eps_of(x, t, torch.full_like(labels, null))
    return (1 + w) * with_label - w * without
""",
            "you made calls of [6, 6]",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # no null label
    with_label, without = eps_of(torch.cat([x, x]), t, torch.cat([labels, labels])).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "the other half with null",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # 0 for null
    both = torch.cat([labels, torch.zeros_like(labels)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "the other half with null",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # the sign of the second term
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label + w * without
""",
            "The weights must be 1 + w and -w",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # the halves are not put together again
    both = torch.cat([labels, torch.full_like(labels, null)])
    return (1 + w) * eps_of(torch.cat([x, x]), t, both)
""",
            "Return one eps for each x",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
""",
            "Return one eps for each x",
        ),
    ],
    "ex-19-velocity": [
        (
            """
def to_flow(xt, eps, alpha_bar):  # from noise to data
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x0 = (xt - b * eps) / a
    return xt / (a + b), b / (a + b), x0 - eps
""",
            "from data to noise",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # not rescaled
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x0 = (xt - b * eps) / a
    return xt, b / (a + b), eps - x0
""",
            "divide x_t by a + b",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # s is the standard deviation
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x0 = (xt - b * eps) / a
    return xt / (a + b), b, eps - x0
""",
            "s is the noise's share",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # s is the image's share
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x0 = (xt - b * eps) / a
    return xt / (a + b), a / (a + b), eps - x0
""",
            "s is the noise's share",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # variances for factors
    a, b = alpha_bar, 1 - alpha_bar
    x0 = (xt - b * eps) / a
    return xt / (a + b), b / (a + b), eps - x0
""",
            "s is the noise's share",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # x_t where x_0 belongs
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return xt / (a + b), b / (a + b), eps - xt
""",
            "u must be eps - x0",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # another order
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x0 = (xt - b * eps) / a
    return b / (a + b), xt / (a + b), eps - x0
""",
            "the first is z",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
""",
            "Return three things",
        ),
    ],
}

RIGHT = {
    "ex-19-guide": [
        """
def guided_eps(eps_of, x, t, labels, null, w):  # null first, each x beside itself, float64
    both = torch.stack([torch.full_like(labels, null), labels], 1).flatten()
    eps = eps_of(x.repeat_interleave(2, 0), t, both).reshape(len(x), 2, *x.shape[1:]).double()
    return eps[:, 1] + w * (eps[:, 1] - eps[:, 0])
""",
        """
def guided_eps(eps_of, x, t, labels, null, w):  # slices, a list of labels
    both = torch.tensor(labels.tolist() + [null] * len(labels))
    out, n = eps_of(x.repeat(2, 1), t, both), len(x)
    return out[:n] * (1 + w) - out[n:] * w
""",
    ],
    "ex-19-velocity": [
        """
def to_flow(xt, eps, alpha_bar):  # roots of tensors; x_0 by z
    a, b = torch.sqrt(alpha_bar), torch.sqrt(1 - alpha_bar)
    z, s = xt / (a + b), b / (a + b)
    return z, s, (eps - z) / (1 - s)
""",
        """
def to_flow(xt, eps, alpha_bar):  # math, float64, a list
    a, b = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    x0 = (xt.double() - b * eps.double()) / a
    s = 1 / (1 + a / b)
    return [(1 - s) * x0 + s * eps, s, eps - x0]
""",
    ],
}
