"""Wrong and right answers to the exercises of chapter 10."""

WRONG = {
    "ex-10-variance": [
        (
            """
def jump_variance(alpha_bar, t, s, v):  # v is not mapped to [0, 1]
    beta = 1 - alpha_bar[t] / alpha_bar[s]
    beta_tilde = (1 - alpha_bar[s]) / (1 - alpha_bar[t]) * beta
    return torch.exp(v * beta.log() + (1 - v) * beta_tilde.log())
""",
            "v = -1 must give",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):  # straight, not in the logarithm
    beta = 1 - alpha_bar[t] / alpha_bar[s]
    beta_tilde = (1 - alpha_bar[s]) / (1 - alpha_bar[t]) * beta
    f = (v + 1) / 2
    return f * beta + (1 - f) * beta_tilde
""",
            "interpolate the logarithms",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):  # a single step, whatever s is
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    beta_tilde = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta
    f = (v + 1) / 2
    return torch.exp(f * beta.log() + (1 - f) * beta_tilde.log())
""",
            "From 200 to 90, v = 1 must give beta of the jump",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):  # the two ends exchanged
    beta = 1 - alpha_bar[t] / alpha_bar[s]
    beta_tilde = (1 - alpha_bar[s]) / (1 - alpha_bar[t]) * beta
    f = (v + 1) / 2
    return torch.exp(f * beta_tilde.log() + (1 - f) * beta.log())
""",
            "v = 1 must give beta",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):  # the logarithm
    beta = 1 - alpha_bar[t] / alpha_bar[s]
    beta_tilde = (1 - alpha_bar[s]) / (1 - alpha_bar[t]) * beta
    f = (v + 1) / 2
    return f * beta.log() + (1 - f) * beta_tilde.log()
""",
            "did you return its logarithm?",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):  # beta-tilde without its beta
    beta = 1 - alpha_bar[t] / alpha_bar[s]
    beta_tilde = (1 - alpha_bar[s]) / (1 - alpha_bar[t])
    f = (v + 1) / 2
    return torch.exp(f * beta.log() + (1 - f) * beta_tilde.log())
""",
            "beta-tilde",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):
    beta = 1 - alpha_bar[t] / alpha_bar[s]  # and no return
""",
            "Return a tensor",
        ),
        (
            """
def jump_variance(alpha_bar, t, s, v):  # the argument is ignored
    table = cosine.alpha_bar
    beta = 1 - table[t] / table[s]
    beta_tilde = (1 - table[s]) / (1 - table[t]) * beta
    f = (v + 1) / 2
    return torch.exp(f * beta.log() + (1 - f) * beta_tilde.log())
""",
            "From 200 to 90, v = 1 must give beta of the jump",
        ),
    ],
    "ex-10-stop": [
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # scale forgotten
    simple = ((target_mean - mean) ** 2).mean()
    gap = (target_mean - mean.detach()) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + kl.mean()
""",
            "At scale = 0.1 your KL counts 1 times",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # no stop
    simple = ((target_mean - mean) ** 2).mean()
    gap = (target_mean - mean) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + scale * kl.mean()
""",
            "The mean still feels the KL",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # stopped in the wrong term
    mean = mean.detach()
    simple = ((target_mean - mean) ** 2).mean()
    gap = (target_mean - mean) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + scale * kl.mean()
""",
            "The mean gets no gradient",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # the whole KL stopped
    simple = ((target_mean - mean) ** 2).mean()
    gap = (target_mean - mean) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + scale * kl.mean().detach()
""",
            "log_var gets no gradient",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # more stopped than the mean
    simple = ((target_mean - mean) ** 2).mean()
    gap = (target_mean - mean) ** 2
    ratio = ((gap + target_log_var.exp()) / log_var.exp()).detach()
    return simple + scale * (0.5 * (log_var - target_log_var - 1 + ratio)).mean()
""",
            "detach the mean, and nothing else",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # sum for mean
    simple = ((target_mean - mean) ** 2).mean()
    gap = (target_mean - mean.detach()) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + scale * kl.sum()
""",
            "your KL counts 15 times",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # the size of the first example
    simple = ((target_mean - mean) ** 2).sum() / 15
    gap = (target_mean - mean.detach()) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + scale * kl.sum() / 15
""",
            "The value must not change",
        ),
        (
            """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # no mean over the batch
    simple = (target_mean - mean) ** 2
    gap = (target_mean - mean.detach()) ** 2
    kl = 0.5 * (log_var - target_log_var - 1 + (gap + target_log_var.exp()) / log_var.exp())
    return simple + scale * kl
""",
            "Return one number",
        ),
    ],
    "ex-10-importance": [
        (
            """
def importance(history):  # the mean instead of the root of the mean square
    p = history.mean(1) / history.mean(1).sum()
    return p, 1 / (len(p) * p)
""",
            "root of the mean square",
        ),
        (
            """
def importance(history):  # no root
    p = (history**2).mean(1)
    p = p / p.sum()
    return p, 1 / (len(p) * p)
""",
            "the root of",
        ),
        (
            """
def importance(history):  # not normalised
    p = (history**2).mean(1).sqrt()
    return p, 1 / (len(p) * p)
""",
            "must sum to 1",
        ),
        (
            """
def importance(history):  # the weight without T
    p = (history**2).mean(1).sqrt()
    p = p / p.sum()
    return p, 1 / p
""",
            "Biased: the weight is 1 / (T p_t)",
        ),
        (
            """
def importance(history):  # the chapter's T
    p = (history**2).mean(1).sqrt()
    p = p / p.sum()
    return p, 1 / (T * p)
""",
            "T the number of rows",
        ),
        (
            """
def importance(history):  # uniform: unbiased, and no better than before
    p = torch.full((len(history),), 1 / len(history), dtype=history.dtype)
    return p, torch.ones_like(p)
""",
            "not the smallest possible",
        ),
        (
            """
def importance(history):  # one array of probabilities over t and the ten losses
    p = (history**2).sqrt()
    p = p / p.sum()
    return p, 1 / (len(p) * p)
""",
            "one number for each of 40 t",
        ),
        (
            """
def importance(history):  # the weights forgotten
    p = (history**2).mean(1).sqrt()
    return p / p.sum()
""",
            "two things: p and w",
        ),
        (
            """
def importance(history):  # the T of the first example
    p = (history**2).mean(1).sqrt()
    p = p / p.sum()
    return p, 1 / (40 * p)
""",
            "T the number of rows",
        ),
    ],
    "ex-10-respace": [
        (
            """
def respaced_betas(alpha_bar, tau):  # in the order of tau, falling
    kept = alpha_bar[tau]
    return 1 - kept[:-1] / kept[1:]
""",
            "beta_1 first",
        ),
        (
            """
def respaced_betas(alpha_bar, tau):  # upside down
    kept = alpha_bar[sorted(tau)]
    return 1 - kept[:-1] / kept[1:]
""",
            "later / earlier",
        ),
        (
            """
def respaced_betas(alpha_bar, tau):  # the betas of the fine chain, added
    beta = 1 - alpha_bar[1:] / alpha_bar[:-1]
    up = sorted(tau)
    return torch.stack([beta[a:b].sum() for a, b in pairwise(up)])
""",
            "the products of 1 - beta'",
        ),
        (
            """
def respaced_betas(alpha_bar, tau):  # the old betas at the steps kept
    up = sorted(tau)[1:]
    return torch.stack([1 - alpha_bar[t] / alpha_bar[t - 1] for t in up])
""",
            "the products of 1 - beta'",
        ),
        (
            """
def respaced_betas(alpha_bar, tau):  # the first step is lost
    kept = alpha_bar[sorted(tau)[1:]]
    return 1 - kept[1:] / kept[:-1]
""",
            "1000 betas expected, you gave 999",
        ),
        (
            """
def respaced_betas(alpha_bar, tau):  # the argument is ignored
    kept = linear.alpha_bar[sorted(tau)]
    return 1 - kept[1:] / kept[:-1]
""",
            "the given alpha_bar",
        ),
        (
            """
def respaced_betas(alpha_bar, tau):
    kept = alpha_bar[sorted(tau)]
""",
            "is there a return?",
        ),
    ],
}

RIGHT = {
    "ex-10-variance": [
        """
def jump_variance(alpha_bar, t, s, v):  # a product of powers
    a_t, a_s = float(alpha_bar[t]), float(alpha_bar[s])
    large = 1 - a_t / a_s
    small = large * (1 - a_s) / (1 - a_t)
    return small ** ((1 - v) / 2) * large ** ((1 + v) / 2)
""",
        """
def jump_variance(alpha_bar, t, s, v):  # in float32
    a_t, a_s = alpha_bar.float()[t], alpha_bar.float()[s]
    large = 1 - a_t / a_s
    small = large * (1 - a_s) / (1 - a_t)
    return torch.exp(torch.lerp(small.log(), large.log(), (v.float() + 1) / 2))
""",
        """
def jump_variance(alpha_bar, t, s, v):  # one by one, with Python's floats
    a_t, a_s = float(alpha_bar[t]), float(alpha_bar[s])
    large = (a_s - a_t) / a_s
    small = large * (1 - a_s) / (1 - a_t)
    logs = [(1 + x) / 2 * math.log(large) + (1 - x) / 2 * math.log(small) for x in v.tolist()]
    return torch.tensor([math.exp(x) for x in logs])
""",
    ],
    "ex-10-stop": [
        """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # with the library's KL
    q = md.Gaussian(target_mean, target_log_var.exp())
    p = md.Gaussian(mean.detach(), log_var.exp())
    return torch.nn.functional.mse_loss(mean, target_mean) + scale * q.kl(p).mean() / mean.shape[1]
""",
        """
def hybrid(mean, log_var, target_mean, target_log_var, scale):  # float32, no_grad
    mean, log_var = mean.float(), log_var.float()
    gap = (target_mean - mean) ** 2
    with torch.no_grad():
        still = gap.clone()
    kl = log_var - target_log_var - 1 + (target_log_var - log_var).exp() + still * (-log_var).exp()
    return gap.mean() + 0.5 * scale * kl.mean()
""",
    ],
    "ex-10-importance": [
        """
def importance(history):  # float32, a norm for the root of the mean square
    norm = history.float().norm(dim=1)
    p = norm / norm.sum()
    return p, 1 / (history.shape[0] * p)
""",
        """
def importance(history):  # lists
    root = [math.sqrt(sum(x * x for x in row) / len(row)) for row in history.tolist()]
    p = [r / sum(root) for r in root]
    return [p, [1 / (len(p) * x) for x in p]]
""",
    ],
    "ex-10-respace": [
        """
def respaced_betas(alpha_bar, tau):  # a list of floats
    up = tau[::-1]
    return [1 - float(alpha_bar[t]) / float(alpha_bar[s]) for s, t in zip(up, up[1:])]
""",
        """
def respaced_betas(alpha_bar, tau):  # float32, turned round at the end
    kept = alpha_bar.float()[torch.tensor(tau)]
    return ((kept[1:] - kept[:-1]) / kept[1:]).flip(0)
""",
    ],
}
