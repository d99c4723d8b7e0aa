"""Wrong and right answers to the code exercises of the chapter on the score."""

WRONG = {
    "ex-05-tweedie": [
        (
            """
def x0_from_score(xt, s, alpha_bar_t):  # the sign
    return (xt - (1 - alpha_bar_t) * s) / alpha_bar_t**0.5
""",
            "you go the other way",
        ),
        (
            """
def x0_from_score(xt, s, alpha_bar_t):  # s taken for eps, with its size
    return (xt + (1 - alpha_bar_t) ** 0.5 * s) / alpha_bar_t**0.5
""",
            "not by its root",
        ),
        (
            """
def x0_from_score(xt, s, alpha_bar_t):  # no factor
    return (xt + s) / alpha_bar_t**0.5
""",
            "by how much must it be multiplied",
        ),
        (
            """
def x0_from_score(xt, s, alpha_bar_t):  # not stretched
    return xt + (1 - alpha_bar_t) * s
""",
            "mind the division",
        ),
        (
            """
def x0_from_score(xt, s, alpha_bar_t):  # divided by alpha_bar
    return (xt + (1 - alpha_bar_t) * s) / alpha_bar_t
""",
            "mind the division",
        ),
        (
            """
def x0_from_score(xt, s, alpha_bar_t):
    x0 = (xt + (1 - alpha_bar_t) * s) / alpha_bar_t**0.5
""",
            "Return the guess",
        ),
    ],
    "ex-05-dsm": [
        (
            """
def dsm(score, x0, eps, alpha_bar_t):  # the sign of the target
    xt = alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps
    return ((score(xt) - eps / (1 - alpha_bar_t) ** 0.5) ** 2).sum(1)
""",
            "MINUS eps",
        ),
        (
            """
def dsm(score, x0, eps, alpha_bar_t):  # the noise itself
    xt = alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps
    return ((score(xt) + eps) ** 2).sum(1)
""",
            "divided by its size",
        ),
        (
            """
def dsm(score, x0, eps, alpha_bar_t):  # the variance for the standard deviation
    xt = alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps
    return ((score(xt) + eps / (1 - alpha_bar_t)) ** 2).sum(1)
""",
            "not by 1 - alpha_bar_t",
        ),
        (
            """
def dsm(score, x0, eps, alpha_bar_t):  # asked at the clean point
    return ((score(x0) + eps / (1 - alpha_bar_t) ** 0.5) ** 2).sum(1)
""",
            "asked at x_t",
        ),
        (
            """
def dsm(score, x0, eps, alpha_bar_t):  # the mean over coordinates
    xt = alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps
    return ((score(xt) + eps / (1 - alpha_bar_t) ** 0.5) ** 2).mean(1)
""",
            "do not average",
        ),
        (
            """
def dsm(score, x0, eps, alpha_bar_t):  # one number for all
    xt = alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps
    return ((score(xt) + eps / (1 - alpha_bar_t) ** 0.5) ** 2).sum()
""",
            "one number for each",
        ),
    ],
    "ex-05-langevin": [
        (
            """
def langevin_step(x, score, delta, z):
    return x + delta / 2 * score(x) + delta * z
""",
            "by sqrt(delta), not by delta",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x + delta * score(x) + delta**0.5 * z
""",
            "by delta / 2, not by delta",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x - delta / 2 * score(x) + delta**0.5 * z
""",
            "flies apart",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x + delta / 2 * score(x)
""",
            "There is no noise",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x + delta * score(x) + (2 * delta) ** 0.5 * z
""",
            "with delta/2 on the score and sqrt(delta) on the noise",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x - delta / 2 * x + delta**0.5 * z
""",
            "do you use the `score`",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x + 0.4 * score(x) + 0.8**0.5 * z
""",
            "and the `delta`",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    return x + delta / 2 * score(x) + delta**0.5 * torch.randn(x.shape)
""",
            "The noise of the step is z",
        ),
        (
            """
def langevin_step(x, score, delta, z):
    x = x + delta / 2 * score(x) + delta**0.5 * z
""",
            "Return the new x",
        ),
    ],
    "ex-05-possible": [
        (
            """
def still_possible(xt, images, alpha_bar_t):  # the entropy itself
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / (2 * (1 - alpha_bar_t))).log_softmax(1)
    return -(log_w.exp() * log_w).sum(1)
""",
            "This is the entropy",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # the logarithm of a weight that is 0
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    w = (-gaps / (2 * (1 - alpha_bar_t))).softmax(1)
    return (-(w * w.log()).sum(1)).exp()
""",
            "Keep the logarithms",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # pictures that are not shrunk
    gaps = ((xt[:, None] - images) ** 2).sum(2)
    log_w = (-gaps / (2 * (1 - alpha_bar_t))).log_softmax(1)
    return (-(log_w.exp() * log_w).sum(1)).exp()
""",
            "shrunk picture",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # the factor of the exponent
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / (1 - alpha_bar_t)).log_softmax(1)
    return (-(log_w.exp() * log_w).sum(1)).exp()
""",
            "shrunk picture",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # the variance
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / 2).log_softmax(1)
    return (-(log_w.exp() * log_w).sum(1)).exp()
""",
            "is right",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # the size of the noise for its variance
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / (2 * (1 - alpha_bar_t) ** 0.5)).log_softmax(1)
    return (-(log_w.exp() * log_w).sum(1)).exp()
""",
            "is right",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # another number of the kind
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    return 1 / (-gaps / (2 * (1 - alpha_bar_t))).softmax(1).square().sum(1)
""",
            "is right",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    return 1 / (-gaps / (2 * (1 - alpha_bar_t))).softmax(1).amax(1)
""",
            "is right",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # a softmax over the x_t
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / (2 * (1 - alpha_bar_t))).log_softmax(0)
    return (-(log_w.exp() * log_w).sum(1)).exp()
""",
            "is right",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # one number for all
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / (2 * (1 - alpha_bar_t))).log_softmax(1)
    return (-(log_w.exp() * log_w).sum()).exp()
""",
            "one number for each x_t",
        ),
        (
            """
def still_possible(xt, images, alpha_bar_t):  # of the first five pictures only
    images = images[:5]
    gaps = ((xt[:, None] - alpha_bar_t**0.5 * images) ** 2).sum(2)
    log_w = (-gaps / (2 * (1 - alpha_bar_t))).log_softmax(1)
    return (-(log_w.exp() * log_w).sum(1)).exp()
""",
            "two are still possible",
        ),
    ],
}

RIGHT = {
    "ex-05-tweedie": [
        """
def x0_from_score(xt, s, alpha_bar_t):  # through eps, float32
    size = math.sqrt(1 - alpha_bar_t)
    eps = -size * s.float()
    return (xt.float() - size * eps) / math.sqrt(alpha_bar_t)
""",
        """
def x0_from_score(xt, s, alpha_bar_t):  # multiplied out
    stretch = alpha_bar_t**-0.5
    return torch.add(stretch * xt, s, alpha=stretch - alpha_bar_t**0.5)
""",
    ],
    "ex-05-dsm": [
        """
def dsm(score, x0, eps, alpha_bar_t):  # by the noisy and the clean point, norms
    xt = math.sqrt(alpha_bar_t) * x0 + math.sqrt(1 - alpha_bar_t) * eps
    target = (math.sqrt(alpha_bar_t) * x0 - xt) / (1 - alpha_bar_t)
    return (score(xt) - target).norm(dim=1) ** 2
""",
        """
def dsm(score, x0, eps, alpha_bar_t):  # autograd of the log density
    xt = (alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps).requires_grad_()
    log_q = -((xt - alpha_bar_t**0.5 * x0) ** 2).sum() / (2 * (1 - alpha_bar_t))
    (target,) = torch.autograd.grad(log_q, xt)
    return torch.einsum("bd,bd->b", *[score(xt.detach()) - target] * 2)
""",
    ],
    "ex-05-langevin": [
        """
def langevin_step(x, score, delta, z):
    drift = 0.5 * delta * score(x)
    return torch.add(x + drift, z, alpha=math.sqrt(delta))
""",
        """
def langevin_step(x, score, delta, z):
    delta = torch.tensor(delta, dtype=torch.float64)
    x = x.double()
    return x + delta / 2 * score(x) + delta.sqrt() * z.double()
""",
    ],
    "ex-05-possible": [
        """
def still_possible(xt, images, alpha_bar_t):  # torch's own entropy
    gaps = torch.cdist(xt, math.sqrt(alpha_bar_t) * images) ** 2
    return torch.distributions.Categorical(logits=-gaps / (2 * (1 - alpha_bar_t))).entropy().exp()
""",
        """
def still_possible(xt, images, alpha_bar_t):  # by products; 0 log 0 = 0 by xlogy
    images, xt = images.double(), xt.double()
    fit = alpha_bar_t**0.5 * xt @ images.T - alpha_bar_t * images.square().sum(1) / 2
    w = (fit / (1 - alpha_bar_t)).softmax(1)
    return torch.exp(-torch.special.xlogy(w, w).sum(1))
""",
    ],
}
