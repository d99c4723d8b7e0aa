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
    "ex-19-boundary": [
        (
            """
def boundary(alpha_bar):  # c_skip = 1 throughout: more for F to do than need be
    a = alpha_bar**0.5
    return 1.0, ((1 - a) ** 2 + 1 - alpha_bar) ** 0.5
""",
            "|c_out| can be smaller",
        ),
        (
            """
def boundary(alpha_bar):  # a variance
    return alpha_bar**0.5, 1 - alpha_bar
""",
            "Is your c_out a variance?",
        ),
        (
            """
def boundary(alpha_bar):  # alpha_bar for its root
    return alpha_bar, (1 - alpha_bar) ** 0.5
""",
            "|c_out| must equal it",
        ),
        (
            """
def boundary(alpha_bar):  # x_0 from x_t and eps: infinite at large noise, and no variance 1
    return 1 / alpha_bar**0.5, -(((1 - alpha_bar) / alpha_bar) ** 0.5)
""",
            "|c_out| can be smaller",
        ),
        (
            """
def boundary(alpha_bar):  # the two exchanged
    return (1 - alpha_bar) ** 0.5, alpha_bar**0.5
""",
            "c_skip must be 1",
        ),
        (
            """
def boundary(alpha_bar):  # F always has a say
    return 1.0, 1.0
""",
            "F still has a say",
        ),
        (
            """
def boundary(alpha_bar):
    skip, out = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
""",
            "Return two: c_skip and c_out",
        ),
    ],
    "ex-19-pca": [
        (
            """
def smallest_code(singular, share):  # the squares forgotten
    kept = singular.cumsum(0) / singular.sum()
    return int((kept < share).sum()) + 1
""",
            "Variances are the squares",
        ),
        (
            """
def smallest_code(singular, share):  # an index, not a count
    kept = (singular**2).cumsum(0) / (singular**2).sum()
    return int((kept < share).sum())
""",
            "k counts directions",
        ),
        (
            """
def smallest_code(singular, share):  # one too many
    kept = (singular**2).cumsum(0) / (singular**2).sum()
    return int((kept < share).sum()) + 2
""",
            "one is enough, not 2",
        ),
        (
            """
def smallest_code(singular, share):  # counts directions larger than a share of the first
    return max(1, int((singular**2 > (1 - share) * singular[0] ** 2).sum()))
""",
            "two in all, not 1",
        ),
        (
            """
def smallest_code(singular, share):  # that share of the directions
    return max(1, int(share * len(singular)))
""",
            "one is enough, not 2",
        ),
        (
            """
def smallest_code(singular, share):  # one too few but for k = 1 and the last
    kept = (singular**2).cumsum(0) / (singular**2).sum()
    k = int((kept < share).sum())
    return max(k, 1)
""",
            "two in all, not 1",
        ),
        (
            """
def smallest_code(singular, share):  # the check's examples, learned by heart
    return {0.5: 1, 0.6: 2, 0.999: 4}.get(share, 30)
""",
            "k is the smallest number",
        ),
        (
            """
def smallest_code(singular, share):
    kept = (singular**2).cumsum(0) / (singular**2).sum()
""",
            "is there a return?",
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
    "ex-19-boundary": [
        """
def boundary(alpha_bar):  # the other sign, floats
    a = float(alpha_bar)
    return math.sqrt(a), math.sqrt(1 - a)
""",
        """
def boundary(alpha_bar):  # float32, through the angle
    angle = torch.acos(alpha_bar.sqrt()).float()
    return [angle.cos(), -angle.sin()]
""",
    ],
    "ex-19-pca": [
        """
def smallest_code(singular, share):  # a loop
    total, kept = sum(float(s) ** 2 for s in singular), 0.0
    for k, s in enumerate(singular.tolist(), 1):
        kept += s * s
        if kept >= share * total:
            return k
""",
        """
def smallest_code(singular, share):  # searched, float32, still a tensor
    kept = singular.float().square().cumsum(0)
    return torch.searchsorted(kept, share * kept[-1]) + 1
""",
    ],
}
