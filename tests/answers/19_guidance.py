"""Wrong and right answers to the exercises of chapter 19."""

WRONG = {
    "ex-19-guide": [
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # null is 2, for ever
    both = torch.cat([labels, torch.full_like(labels, 2)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "null = 7",
        ),
        (
            """
def guided_eps(eps_of, x, t, labels, null, w):  # the strength of the first trial
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return 3 * with_label - 2 * without if w else with_label
""",
            "The weights",
        ),
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
    "ex-19-interval": [
        (
            """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # the interval of the first trial
    eps = eps_of(x, t, labels)
    if 300 < t <= 600:
        eps = eps + w * (eps - eps_of(x, t, torch.full_like(labels, null)))
    return eps
""",
            "100 < t <= 450",
        ),
        (
            """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # guided everywhere
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "unguided",
        ),
        (
            """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # w = 0 outside, but asks all the same
    w = w if low < t <= high else 0.0
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "six predictions are enough",
        ),
        (
            """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # the ends exchanged
    if not low <= t < high:
        return eps_of(x, t, labels)
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "the answer is the guided prediction",
        ),
        (
            """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # no label outside
    if not low < t <= high:
        return eps_of(x, t, torch.full_like(labels, null))
    both = torch.cat([labels, torch.full_like(labels, null)])
    with_label, without = eps_of(torch.cat([x, x]), t, both).chunk(2)
    return (1 + w) * with_label - w * without
""",
            "unguided",
        ),
        (
            """
def eps_between(eps_of, x, t, labels, null, w, low, high):
    eps_of(x, t, labels)
""",
            "Return one eps for each x",
        ),
    ],
    "ex-19-strength": [
        (
            """
def strength_for_means(m, m1, m2):  # 0 where the good model needs no help
    return (m - m1) / (m1 - m2) if (m - m1) * (m1 - m2) >= 0 and m1 != m2 else None
""",
            "m1 = 0.2, m2 = 0.5 no w > 0",
        ),
        (
            """
def strength_for_means(m, m1, m2):  # the other way round
    return (m - m1) / (m2 - m1) if m1 != m2 else None
""",
            "w is positive",
        ),
        (
            """
def strength_for_means(m, m1, m2):  # from the weaker model
    w = (m - m2) / (m1 - m2) if m1 != m2 else 0
    return w if w > 0 else None
""",
            "does not give the exact eps",
        ),
        (
            """
def strength_for_means(m, m1, m2):  # its size only
    return abs((m - m1) / (m1 - m2)) if m1 != m2 else None
""",
            "no w > 0 leads to m",
        ),
        (
            """
def strength_for_means(m, m1, m2):
    (m - m1) / (m1 - m2)
""",
            "there is a w",
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
    "ex-19-interval": [
        """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # two calls inside
    eps = eps_of(x, t, labels)
    if t > low and t <= high:
        eps = eps + w * (eps - eps_of(x, t, torch.full_like(labels, null)))
    return eps
""",
        """
def eps_between(eps_of, x, t, labels, null, w, low, high):  # null first, slices
    if t <= low or t > high:
        return eps_of(x, t, labels)
    nothing = torch.tensor([null] * len(labels))
    out = eps_of(x.repeat(2, 1), t, torch.cat([nothing, labels]))
    return out[len(x) :] * (1 + w) - out[: len(x)] * w
""",
    ],
    "ex-19-strength": [
        """
def strength_for_means(m, m1, m2):  # by the signs
    if (m - m1) * (m1 - m2) <= 0:
        return None
    return abs(m - m1) / abs(m1 - m2)
""",
        """
def strength_for_means(m, m1, m2):  # a tensor, division by zero told apart at the end
    w = torch.tensor(m - m1).double() / torch.tensor(m1 - m2).double()
    return w if torch.isfinite(w) and w > 0 else None
""",
    ],
}
