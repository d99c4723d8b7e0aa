"""Wrong and right answers to the code exercises of chapter 3."""

WRONG = {
    "ex-03-kl": [
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    kl = 0.5 * (torch.log(var1 / var2) - 1 + (var2 + (mean1 - mean2) ** 2) / var1)
    return kl.sum(1)
""",
            "KL is not symmetric",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    kl = torch.log(var2 / var1) - 0.5 + (var1**2 + (mean1 - mean2) ** 2) / (2 * var2**2)
    return kl.sum(1)
""",
            "variances as standard deviations",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    kl = 0.5 * (torch.log(var2 / var1) - 1 + (var1 + (mean1 - mean2) ** 2) / var2)
    return kl.mean(1)
""",
            "average over the coordinates",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    return (torch.log(var2 / var1) - 1 + (var1 + (mean1 - mean2) ** 2) / var2).sum(1)
""",
            "factor 1/2 is missing",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    return 0.5 * (torch.log(var2 / var1) + (var1 + (mean1 - mean2) ** 2) / var2).sum(1)
""",
            "The -1 is missing",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    return 0.5 * (torch.log(var1 / var2) - 1 + (var1 + (mean1 - mean2) ** 2) / var2).sum(1)
""",
            "the logarithm, the -1, the fraction",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    return 0.5 * (torch.log(var2 / var1) - 1 + (var1 + (mean1 - mean2) ** 2) / var2)
""",
            "One number for each sample",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    kl = 0.5 * (torch.log(var2 / var1) - 1 + (var1 + (mean1 - mean2) ** 2) / var2)
""",
            "Return a tensor",
        ),
        (
            """
def gaussian_kl(mean1, var1, mean2, var2):
    kl = 0.5 * (torch.log(var2 / var1) - 1 + (var1 + (mean1 - mean2) ** 2) / var2)
    return kl[:, 0] + kl[:, 1] + kl[:, 2]
""",
            "have KL 2",
        ),
    ],
    "ex-03-prior": [
        (
            """
def prior_bits(ab, power):
    return 0.5 * (ab * (power - 1) - math.log1p(-ab))
""",
            "These are nats",
        ),
        (
            """
def prior_bits(ab, power):
    return 0.5 * (ab * (power - 1) - math.log(ab)) / math.log(2)
""",
            "The variance of q is 1 - ab",
        ),
        (
            """
def prior_bits(ab, power):
    return (ab * (power - 1) - math.log1p(-ab)) / math.log(2)
""",
            "factor 1/2 is missing",
        ),
        (
            """
def prior_bits(ab, power):
    return 0.5 * ab * power / math.log(2)
""",
            "is not exact",
        ),
        (
            """
def prior_bits(ab, power):
    return 0.5 * (ab * (0.3 - 1) - math.log1p(-ab)) / math.log(2)
""",
            "alpha_bar_T = 0.05, power 1.2: expected",
        ),
        (
            """
def prior_bits(ab, power):
    return 0.5 * (ab * power - math.log1p(-ab)) / math.log(2)
""",
            "alpha_bar_T = 0.6, power 0.3: expected",
        ),
    ],
    "ex-03-edges": [
        (
            """
def lost_mass(mean, sigma):
    upper = torch.special.ndtr((levels + 1 / 255 - mean) / sigma)
    lower = torch.special.ndtr((levels - 1 / 255 - mean) / sigma)
    return float((upper - lower).sum())
""",
            "That is the mass that is kept",
        ),
        (
            """
def lost_mass(mean, sigma):
    return float(1 - bin_mass(mean, sigma, levels).sum())
""",
            "your outer bins are still open",
        ),
        (
            """
def lost_mass(mean, sigma):
    upper = torch.special.ndtr((levels + 1 / 510 - mean) / sigma)
    lower = torch.special.ndtr((levels - 1 / 510 - mean) / sigma)
    return float(1 - (upper - lower).sum())
""",
            "A bin reaches 1/255 to both sides",
        ),
        (
            """
def lost_mass(mean, sigma):
    density = torch.exp(-0.5 * ((levels - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return float(1 - (density * 2 / 255).sum())
""",
            "lies beyond the outer edges",
        ),
        (
            """
def lost_mass(mean, sigma):
    return 0.5 * math.erfc((1 - mean) / sigma / 2**0.5) + 0.5 * math.erfc(
        (1 + mean) / sigma / 2**0.5
    )
""",
            "lies beyond the outer edges",
        ),
    ],
    "ex-03-single": [
        (
            """
def one_t_estimate(term, T, n, generator):
    t = torch.randint(1, T + 1, (n,), generator=generator)
    return term(t)
""",
            "multiply by T",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    t = torch.randint(0, T, (n,), generator=generator)
    return T * term(t)
""",
            "t must take every value 1..5, yours took [0, 1, 2, 3, 4]",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    t = torch.randint(1, T, (n,), generator=generator)
    return T * term(t)
""",
            "randint excludes its upper end",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    return term(torch.arange(1, T + 1)).sum().expand(n)
""",
            "one t for each of n samples",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    return sum(term(torch.full((n,), t)) for t in range(1, T + 1))
""",
            "You asked for 200,000 terms",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    t = torch.randint(1, T + 1, (n,), generator=generator)
    return T * term(t).mean()
""",
            "one estimate for each of the n samples",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    t = torch.randint(1, T + 1, (n,), generator=generator)
    return T * term(t).mean().expand(n)
""",
            "don't average them",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    t = torch.randint(1, T + 1, (1,), generator=generator).expand(n)
    return T * term(t)
""",
            "t must take every value",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    return 5 * term(torch.randint(1, 6, (n,), generator=generator))
""",
            "stopped with",
        ),
        (
            """
def one_t_estimate(term, T, n, generator):
    return 5 * term(torch.randint(1, T + 1, (n,), generator=generator))
""",
            "the sum is 4.00",
        ),
    ],
}

RIGHT = {
    "ex-03-kl": [
        """
def gaussian_kl(mean1, var1, mean2, var2):
    p = torch.distributions.Normal(mean1.double(), var1.double().sqrt())
    q = torch.distributions.Normal(mean2.double(), var2.double().sqrt())
    return torch.distributions.kl_divergence(p, q).sum(-1)
""",
        """
def gaussian_kl(mean1, var1, mean2, var2):
    D = mean1.shape[1]
    logs = var2.log().sum(1) - var1.log().sum(1)
    return (logs - D + (var1 / var2).sum(1) + ((mean1 - mean2).square() / var2).sum(1)) / 2
""",
        """
def gaussian_kl(mean1, var1, mean2, var2):
    out = []
    for row in zip(mean1.tolist(), var1.tolist(), mean2.tolist(), var2.tolist()):
        out.append(sum(0.5 * (math.log(w / v) - 1 + (v + (m - n) ** 2) / w)
                       for m, v, n, w in zip(*row)))
    return torch.tensor(out)
""",
    ],
    "ex-03-prior": [
        """
def prior_bits(ab, power):
    nats = md.prior_kl(md.Schedule.from_alpha_bar([1, (1 + ab) / 2, ab]),
                       torch.tensor([[math.sqrt(power)]], dtype=torch.float64))
    return nats.squeeze() / math.log(2)
""",
        """
def prior_bits(ab, power):
    ab = torch.tensor(ab, dtype=torch.float32)
    return 0.5 * (-torch.log1p(-ab) - 1 + (1 - ab) + ab * power) / torch.tensor(2.0).log()
""",
        """
def prior_bits(ab, power):
    return 0.5 * (ab * power - ab) / math.log(2) - 0.5 * math.log2(1 - ab)
""",
    ],
    "ex-03-edges": [
        """
def lost_mass(mean, sigma):
    above = 0.5 * math.erfc((1 + 1 / 255 - mean) / (sigma * math.sqrt(2)))
    below = 0.5 * math.erfc((mean + 1 + 1 / 255) / (sigma * math.sqrt(2)))
    return above + below
""",
        """
def lost_mass(mean, sigma):
    normal = torch.distributions.Normal(torch.tensor(mean).float(), torch.tensor(sigma).float())
    x = levels.float()
    return 1 - (normal.cdf(x + 1 / 255) - normal.cdf(x - 1 / 255)).sum()
""",
    ],
    "ex-03-single": [
        """
def one_t_estimate(term, T, n, generator):
    t = (torch.rand(n, generator=generator) * T).long() + 1
    return term(t) * float(T)
""",
        """
def one_t_estimate(term, T, n, generator):
    p = torch.arange(1, T + 1, dtype=torch.float64)
    p = p / p.sum()
    t = torch.multinomial(p, n, replacement=True, generator=generator) + 1
    return term(t) / p[t - 1]
""",
    ],
}
