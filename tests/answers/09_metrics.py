"""Wrong and right answers to the code exercises of chapter 9."""

WRONG = {
    "ex-09-diagonal": [
        (
            """
def diagonal_frechet(a, b):
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + ((a.var(0) - b.var(0)) ** 2).sum()
""",
            "Each std differs by 2 std",
        ),
        (
            """
def diagonal_frechet(a, b):
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + (a.std(0) - b.std(0)).abs().sum()
""",
            "squared and summed",
        ),
        (
            """
def diagonal_frechet(a, b):
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return mean + ((a.std(0, unbiased=False) - b.std(0, unbiased=False)) ** 2).sum()
""",
            "the std divides by n - 1",
        ),
        (
            """
def diagonal_frechet(a, b):
    return ((a.mean(0) - b.mean(0)) ** 2).mean() + ((a.std(0) - b.std(0)) ** 2).mean()
""",
            "squares, summed",
        ),
        (
            """
def diagonal_frechet(a, b):
    return (((a.mean(0) - b.mean(0)) ** 2).sum() + ((a.std(0) - b.std(0)) ** 2).sum()).sqrt()
""",
            "costs 16, you say 4",
        ),
        (
            """
def diagonal_frechet(a, b):
    return ((a.mean(0) - b.mean(0)) ** 2).sum()
""",
            "Three times as wide costs",
        ),
        (
            """
def diagonal_frechet(a, b):
    d = ((a.mean(0) - b.mean(0)) ** 2).sum() + ((a.std(0) - b.std(0)) ** 2).sum()
""",
            "your function gives None",
        ),
        (
            """
def diagonal_frechet(a, b):
    return md.metrics.frechet_distance(*(md.metrics.FrechetStats().update(x) for x in (a, b)))
""",
            "the mean and the variance of each feature",
        ),
    ],
    "ex-09-recall": [
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(real, real).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(fake, real) <= radius).any(1).double().mean()
""",
            "This is precision",
        ),
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(fake, fake).topk(k, largest=False).values[:, -1]
    return (torch.cdist(real, fake) <= radius).any(1).double().mean()
""",
            "its own first neighbour",
        ),
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(real, real).topk(k + 1, largest=False).values[:, -1:]
    return (torch.cdist(real, fake) <= radius).any(1).double().mean()
""",
            "This is coverage",
        ),
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(fake, fake).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, fake) <= radius).all(1).double().mean()
""",
            "is one ball of any fake enough",
        ),
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(fake, fake).topk(4, largest=False).values[:, -1]
    return (torch.cdist(real, fake) <= radius).any(1).double().mean()
""",
            "For k = 1 recall is",
        ),
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(fake, fake).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, fake) <= radius).any(0).double().mean()
""",
            "For k = 1 recall is",
        ),
        (
            """
def my_recall(real, fake, k):
    radius = torch.cdist(fake, fake).topk(k + 1, largest=False).values[:, -1]
    (torch.cdist(real, fake) <= radius).any(1).double().mean()
""",
            "your function gives None",
        ),
    ],
    "ex-09-infinity": [
        (
            """
def at_infinity(sizes, distances):
    x = 1 / torch.tensor(sizes, dtype=torch.float64)
    slope = (distances[0] - distances[-1]) / float(x[0] - x[-1])
    return distances[0] - slope * float(x[0])
""",
            "least squares through all four",
        ),
        (
            """
def at_infinity(sizes, distances):
    (n, m), (d, e) = sizes[-2:], distances[-2:]
    return (m * e - n * d) / (m - n)
""",
            "all points count",
        ),
        (
            """
def at_infinity(sizes, distances):
    x = torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(y.mean() - slope * x.mean())
""",
            "is the line in n, or in 1/n",
        ),
        (
            """
def at_infinity(sizes, distances):
    x = 1 / torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
""",
            "This is the slope",
        ),
        (
            """
def at_infinity(sizes, distances):
    return distances[-1]
""",
            "3 + 70/n must give 3",
        ),
        (
            """
def at_infinity(sizes, distances):
    x = 1 / torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(y.mean() - slope * x.mean()), float(slope)
""",
            "one number, not (3.0",
        ),
        (
            """
def at_infinity(sizes, distances):
    x = 1 / torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    w = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    mx, my = (w * x).sum(), (w * y).sum()
    return float(my - (w * (x - mx) * (y - my)).sum() / (w * (x - mx) ** 2).sum() * mx)
""",
            "and equally",
        ),
        (
            """
def at_infinity(sizes, distances):
    A = torch.tensor([[1.0, 1.0 / n] for n in (100, 200, 400, 800)], dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    return float((torch.linalg.pinv(A)[:, : len(y)] @ y)[0])
""",
            "5 + 40/n at [100, 150, 300] must give 5",
        ),
    ],
}

RIGHT = {
    "ex-09-diagonal": [
        """
def diagonal_frechet(a, b):
    mean = (a.mean(0) - b.mean(0)).square().sum()
    trace = a.var(0) + b.var(0) - 2 * (a.var(0) * b.var(0)).sqrt()
    return float(mean + trace.sum())
""",
        """
def diagonal_frechet(a, b):
    total = 0.0
    for u, v in zip(a.float().unbind(1), b.float().unbind(1)):
        total += (u.mean() - v.mean()) ** 2 + (u.std() - v.std()) ** 2
    return total
""",
        """
def diagonal_frechet(a, b):
    a, b = a.numpy(), b.numpy()
    return ((a.mean(0) - b.mean(0)) ** 2 + (a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2).sum()
""",
    ],
    "ex-09-recall": [
        """
def my_recall(real, fake, k):
    between = torch.cdist(fake, fake)
    between.fill_diagonal_(torch.inf)
    radius = between.sort(1).values[:, k - 1]
    hits = 0
    for x in real:
        hits += bool(((x - fake).norm(dim=1) <= radius).any())
    return hits / len(real)
""",
        """
def my_recall(real, fake, k):
    real, fake = real.float(), fake.float()
    radius = torch.cdist(fake, fake).kthvalue(k + 1, dim=1).values
    inside = torch.cdist(fake, real) < radius[:, None]
    return inside.any(0).float().mean()
""",
    ],
    "ex-09-infinity": [
        """
def at_infinity(sizes, distances):
    A = torch.tensor([[1.0, 1.0 / n] for n in sizes], dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    return torch.linalg.lstsq(A, y[:, None]).solution[0, 0]
""",
        """
def at_infinity(sizes, distances):
    x = [1 / n for n in sizes]
    n, sx, sy = len(x), sum(x), sum(distances)
    sxx, sxy = sum(u * u for u in x), sum(u * v for u, v in zip(x, distances))
    return (sy * sxx - sx * sxy) / (n * sxx - sx * sx)
""",
        """
def at_infinity(sizes, distances):
    import numpy as np

    return np.polyfit(1 / np.array(sizes), np.array(distances), 1)[-1]
""",
        """
def at_infinity(sizes, distances):
    x = 1 / torch.tensor(sizes, dtype=torch.float32)
    y = torch.tensor(distances, dtype=torch.float32)
    slope = torch.dot(x - x.mean(), y) / (x - x.mean()).square().sum()
    return y.mean() - slope * x.mean()
""",
    ],
}
