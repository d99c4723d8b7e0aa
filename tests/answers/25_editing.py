"""Wrong and right answers to the exercises of chapter 25."""

WRONG = {
    "ex-25-known": [
        (
            """
def weights_given(means, weights, v, x, mask):  # all coordinates
    return (weights.log() - ((means - x) ** 2).sum(1) / (2 * v)).softmax(0)
""",
            "not known",
        ),
        (
            """
def weights_given(means, weights, v, x, mask):  # the mask inverted
    return (weights.log() - ((means - x)[:, ~mask] ** 2).sum(1) / (2 * v)).softmax(0)
""",
            "not known",
        ),
        (
            """
def weights_given(means, weights, v, x, mask):  # the prior forgotten
    return (-((means - x)[:, mask] ** 2).sum(1) / (2 * v)).softmax(0)
""",
            "The weights from before",
        ),
        (
            """
def weights_given(means, weights, v, x, mask):  # not normalised
    return weights * (-((means - x)[:, mask] ** 2).sum(1) / (2 * v)).exp()
""",
            "normalise",
        ),
        (
            """
def weights_given(means, weights, v, x, mask):  # the half forgotten
    return (weights.log() - ((means - x)[:, mask] ** 2).sum(1) / v).softmax(0)
""",
            "The exponent is",
        ),
        (
            """
def weights_given(means, weights, v, x, mask):  # v taken for a standard deviation
    return (weights.log() - ((means - x)[:, mask] ** 2).sum(1) / (2 * v**2)).softmax(0)
""",
            "The exponent is",
        ),
        (
            """
def weights_given(means, weights, v, x, mask):
    gap = ((means - x)[:, mask] ** 2).sum(1)
""",
            "Return a tensor",
        ),
    ],
    "ex-25-put": [
        (
            """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # clean
    return torch.where(mask, x0, xs)
""",
            "without noise",
        ),
        (
            """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # the mask inverted
    known = alpha_bar_s**0.5 * x0 + (1 - alpha_bar_s) ** 0.5 * eps
    return torch.where(mask, xs, known)
""",
            "and you keep it",
        ),
        (
            """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # everywhere
    return alpha_bar_s**0.5 * x0 + (1 - alpha_bar_s) ** 0.5 * eps
""",
            "must stay as it was drawn",
        ),
        (
            """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # roots forgotten
    return torch.where(mask, alpha_bar_s * x0 + (1 - alpha_bar_s) * eps, xs)
""",
            "sqrt(alpha_bar) x0",
        ),
        (
            """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # nothing is put in
    return xs
""",
            "and you keep it",
        ),
        (
            """
def put_back(xs, x0, mask, alpha_bar_s, eps):
    known = alpha_bar_s**0.5 * x0 + (1 - alpha_bar_s) ** 0.5 * eps
""",
            "Return a batch like xs",
        ),
    ],
    "ex-25-reverse": [
        (
            """
def relabel(model, x, old, new, w, end, steps, null):  # the same label both ways
    code = md.encode(model, x, steps, end=end, labels=old)
    return md.decode(md.guide(model, old, w, null), code, steps, start=end)
""",
            "the same labels",
        ),
        (
            """
def relabel(model, x, old, new, w, end, steps, null):  # exchanged
    code = md.encode(model, x, steps, end=end, labels=new)
    return md.decode(md.guide(model, old, w, null), code, steps, start=end)
""",
            "exchange them",
        ),
        (
            """
def relabel(model, x, old, new, w, end, steps, null):  # all the way
    code = md.encode(model, x, steps, labels=old)
    return md.decode(md.guide(model, new, w, null), code, steps)
""",
            "Stop at end",
        ),
        (
            """
def relabel(model, x, old, new, w, end, steps, null):  # no guidance
    code = md.encode(model, x, steps, end=end, labels=old)
    return md.decode(model, code, steps, start=end, labels=new)
""",
            "Decode with guidance",
        ),
        (
            """
def relabel(model, x, old, new, w, end, steps, null):  # decodes from T what was encoded to end
    code = md.encode(model, x, steps, end=end, labels=old)
    return md.decode(md.guide(model, new, w, null), code, steps)
""",
            "This is not decode",
        ),
        (
            """
def relabel(model, x, old, new, w, end, steps, null):
    md.encode(model, x, steps, end=end, labels=old)
""",
            "Return a batch like x",
        ),
    ],
}

RIGHT = {
    "ex-25-known": [
        """
def weights_given(means, weights, v, x, mask):  # densities, a loop
    p = [
        float(w) * float((-((m - x)[mask] ** 2).sum() / (2 * v)).exp())
        for m, w in zip(means, weights)
    ]
    return torch.tensor(p).double() / sum(p)
""",
        """
def weights_given(means, weights, v, x, mask):  # by the library
    std = torch.full((len(means),), v**0.5)
    part = md.toy.GaussianMixture(means[:, mask], std, weights)
    return part._log_joint(part._away(x[mask][None])).softmax(1)[0]
""",
    ],
    "ex-25-put": [
        """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # a product in place of where
    a = float(alpha_bar_s)
    m = mask.float()
    return m * (a**0.5 * x0 + (1 - a) ** 0.5 * eps) + (1 - m) * xs
""",
        """
def put_back(xs, x0, mask, alpha_bar_s, eps):  # in place, by a mask of full shape
    x, where = xs.clone(), mask.expand(xs.shape)
    x[where] = x0[where] * alpha_bar_s.sqrt()
    x[where] += (1 - alpha_bar_s).sqrt() * eps[where]
    return x
""",
    ],
    "ex-25-reverse": [
        """
def relabel(model, x, old, new, w, end, steps, null):  # the encoder by guide, too
    code = md.encode(md.guide(model, old, 0, null), x, steps, start=0, end=end)
    return md.decode(md.guide(model, new, w, null=null), code, steps, start=end, end=0)
""",
        """
def relabel(model, x, old, new, w, end, steps, null):  # the solver itself
    code = md.encode(model, x, steps=steps, end=end, labels=old)
    grid = md.tau(model.schedule, steps, start=end)
    *_, last = md.solve(md.guide(model, new, w, null), code, grid, "euler")
    return last.x
""",
    ],
}
