"""Wrong and right answers to the code exercises of chapter 8."""

WRONG = {
    "ex-08-rate": [
        (
            """
def rates(terms):
    return torch.tensor(terms).cumsum(0).tolist()
""",
            "x_T costs L_T alone: 0.5, you say 14.5",
        ),
        (
            """
def rates(terms):
    return [sum(terms[t:]) for t in range(len(terms))]
""",
            "x_T costs L_T alone: 0.5, you say 2",
        ),
        (
            """
def rates(terms):
    return [terms[0] + sum(terms[t:]) for t in range(1, len(terms))]
""",
            "so 4 rates; you gave 3",
        ),
        (
            """
def rates(terms):
    return [terms[0] + sum(terms[t + 1 :]) for t in range(len(terms))][::-1]
""",
            "x_T costs L_T alone: 0.5, you say 14.5",
        ),
        (
            """
def rates(terms):
    return [sum(terms[t + 1 :]) for t in range(len(terms))]
""",
            "x_T costs L_T alone: 0.5, you say 0",
        ),
        (
            """
def rates(terms):
    out = [terms[0] + sum(terms[t + 1 :]) for t in range(len(terms))]
""",
            "your function gives None",
        ),
    ],
    "ex-08-mix": [
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    image = (1 - weight) * x0 + weight * y0
    return ab**0.5 * image + (1 - ab) ** 0.5 * ((1 - weight) * ex + weight * ey)
""",
            "it should stay 0.64",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    image = (1 - weight) * x0 + weight * y0
    return ab**0.5 * image + (1 - ab) ** 0.5 * ex
""",
            "the second noised image",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    size = ((1 - weight) ** 2 + weight**2) ** 0.5
    xt = ab**0.5 * x0 + (1 - ab) ** 0.5 * ex
    yt = ab**0.5 * y0 + (1 - ab) ** 0.5 * ey
    return ((1 - weight) * xt + weight * yt) / size
""",
            "The image part at weight 0.3",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    image = (1 - weight) * x0 + weight * y0
    noise = ((1 - weight) * ex + weight * ey) / ((1 - weight) ** 2 + weight**2) ** 0.5
    return ab**0.5 * image + (1 - ab) * noise
""",
            "has variance 0.41",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    noise = ((1 - weight) * ex + weight * ey) / ((1 - weight) ** 2 + weight**2) ** 0.5
    return ab**0.5 * weight * y0 + (1 - ab) ** 0.5 * noise
""",
            "0.60 is right",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    image = weight * x0 + (1 - weight) * y0
    noise = (weight * ex + (1 - weight) * ey) / ((1 - weight) ** 2 + weight**2) ** 0.5
    return ab**0.5 * image + (1 - ab) ** 0.5 * noise
""",
            "The image part at weight 0.0",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    image = (1 - weight) * x0 + weight * y0
    noise = (ex + ey) / 2**0.5
    return ab**0.5 * image + (1 - ab) ** 0.5 * noise
""",
            "the first noised image must come back",
        ),
        (
            """
def mix(ab, x0, y0, ex, ey, weight):
    noise = ((1 - weight) * ex + weight * ey) / ((1 - weight) ** 2 + weight**2) ** 0.5
    return 0.6 * ((1 - weight) * x0 + weight * y0) + 0.8 * noise
""",
            "at weight 0.5, alpha_bar_t = 0.64",
        ),
    ],
    "ex-08-copies": [
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = lambda x: torch.cdist(x, train).min(1).values
    return float((near(samples) < near(unseen).mean()).double().mean())
""",
            "the threshold is the `fraction`-quantile",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = lambda x: torch.cdist(x, train).min(1).values
    return float((near(samples) < near(unseen).quantile(1 - fraction)).double().mean())
""",
            "you give 95%",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = lambda x: torch.cdist(x, train).min(1).values
    return float((near(samples) < near(unseen).quantile(0.05)).double().mean())
""",
            "must give about 50%, you give 5%",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = lambda x: torch.cdist(x, train).min(1).values
    return int((near(samples) < near(unseen).quantile(fraction)).sum())
""",
            "a share of 1; you say 100",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = lambda x: torch.cdist(x, train).min(1).values
    return float((near(samples) < near(samples).quantile(fraction)).double().mean())
""",
            "are all copies, a share of 1; you say 0.01",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    far = lambda x: torch.cdist(x, train).mean(1)
    return float((far(samples) < far(unseen).quantile(fraction)).double().mean())
""",
            "are all copies, a share of 1",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = lambda x: torch.cdist(x, train).min(1).values
    return float((near(samples) > near(unseen).quantile(fraction)).double().mean())
""",
            "are all copies, a share of 1; you say 0",
        ),
        (
            """
def share_of_copies(samples, train, unseen, fraction=0.05):
    near = torch.cdist(samples, train).min(1).values
    limit = torch.cdist(unseen, train).min(1).values.quantile(fraction)
    return float((near < limit).any())
""",
            "the unseen images themselves must give about 5%, you give 100%",
        ),
    ],
}

RIGHT = {
    "ex-08-rate": [
        """
def rates(terms):
    terms = torch.tensor(terms, dtype=torch.float32)
    later = terms[1:].flip(0).cumsum(0).flip(0)
    return terms[0] + torch.cat([later, torch.zeros(1)])
""",
        """
def rates(terms):
    return [terms[0] + sum(terms[t + 1 :]) for t in range(len(terms))]
""",
        """
def rates(terms):
    out = [sum(terms)]
    for term in terms[1:]:
        out.append(out[-1] - term)
    return out
""",
    ],
    "ex-08-mix": [
        """
def mix(ab, x0, y0, ex, ey, weight):
    noise = (1 - weight) ** 0.5 * ex + weight**0.5 * ey
    return ab**0.5 * torch.lerp(x0, y0, weight) + (1 - ab) ** 0.5 * noise
""",
        """
def mix(ab, x0, y0, ex, ey, weight):
    angle = weight * math.pi / 2
    noise = math.cos(angle) * ex.double() + math.sin(angle) * ey.double()
    return math.sqrt(ab) * (x0 + weight * (y0 - x0)) + math.sqrt(1 - ab) * noise
""",
    ],
    "ex-08-copies": [
        """
def share_of_copies(samples, train, unseen, fraction=0.05):
    distances = torch.stack([(train - x).square().sum(1).min() for x in unseen])
    limit = distances.sort().values[round(fraction * (len(unseen) - 1))]
    hits = [(train - x).square().sum(1).min() <= limit for x in samples]
    return sum(bool(hit) for hit in hits) / len(samples)
""",
        """
def share_of_copies(samples, train, unseen, fraction=0.05):
    train = train.float()
    near = lambda x: torch.cdist(x.float(), train).amin(1)
    return (near(samples) <= torch.quantile(near(unseen), fraction)).float().mean()
""",
    ],
}
