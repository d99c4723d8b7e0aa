"""Wrong and right answers to the exercises of chapter 21."""

WRONG = {
    "ex-21-velocity": [
        (
            """
def to_flow(xt, eps, alpha_bar):  # the variance's share, in the shape of a point
    s = (1 - alpha_bar).reshape(1, 1)
    z = xt / (alpha_bar**0.5 + (1 - alpha_bar) ** 0.5)
    return z, s, (eps - z) / (1 - s)
""",
            "yours is",
        ),
        (
            """
def to_flow(xt, eps, alpha_bar):  # forgot u
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    return xt / (a + b), b / (a + b), None
""",
            "in its shape",
        ),
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
    "ex-21-euler": [
        (
            """
def euler(u, z, grid):  # asks where the step ends
    for s, s_next in pairwise(grid):
        z = z + (s_next - s) * u(z, s_next)
    return z
""",
            "where the step begins",
        ),
        (
            """
def euler(u, z, grid):  # away from the data
    for s, s_next in pairwise(grid):
        z = z + (s - s_next) * u(z, s)
    return z
""",
            "You walk away from the data",
        ),
        (
            """
def euler(u, z, grid):  # even steps
    for s in grid[:-1]:
        z = z - u(z, s) * (grid[0] - grid[-1]) / (len(grid) - 1)
    return z
""",
            "the grid need not be even",
        ),
        (
            """
def euler(u, z, grid):  # one step too many
    for s, s_next in zip(grid, [*grid[1:], 0.0]):
        z = z + (s_next - s) * u(z, s)
    return z
""",
            "u is asked at",
        ),
        (
            """
def euler(u, z, grid):
    for s, s_next in pairwise(grid):
        z = z + (s_next - s) * u(z, s)
""",
            "Return the last point",
        ),
    ],
    "ex-21-straight": [
        (
            """
def how_bent(path, grid):  # every step counts the same
    s = torch.as_tensor(grid, dtype=path.dtype)
    u = (path[:-1] - path[1:]) / (s[:-1] - s[1:])[:, None, None]
    mean = (path[0] - path[-1]) / (s[0] - s[-1])
    return float(((u - mean) ** 2).sum(-1).mean())
""",
            "A long step counts for more",
        ),
        (
            """
def how_bent(path, grid):  # a mean over D
    s = torch.as_tensor(grid, dtype=path.dtype)
    length = s[:-1] - s[1:]
    u = (path[:-1] - path[1:]) / length[:, None, None]
    mean = (path[0] - path[-1]) / length.sum()
    return float((((u - mean) ** 2).mean((1, 2)) * length).sum() / length.sum())
""",
            "Sum the squares over D",
        ),
        (
            """
def how_bent(path, grid):  # a sum over B
    s = torch.as_tensor(grid, dtype=path.dtype)
    length = s[:-1] - s[1:]
    u = (path[:-1] - path[1:]) / length[:, None, None]
    mean = (path[0] - path[-1]) / length.sum()
    return float((((u - mean) ** 2).sum((1, 2)) * length).sum() / length.sum())
""",
            "Average over B",
        ),
        (
            """
def how_bent(path, grid):  # even steps
    u = (path[:-1] - path[1:]) * (len(path) - 1)
    return float(((u - (path[0] - path[-1])) ** 2).sum(-1).mean())
""",
            "evenly run",
        ),
        (
            """
def how_bent(path, grid):
    s = torch.as_tensor(grid)
""",
            "Return a number",
        ),
    ],
}

RIGHT = {
    "ex-21-velocity": [
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
    "ex-21-euler": [
        """
def euler(u, z, grid):  # by the pair, float32
    z = z.float()
    for i in range(len(grid) - 1):
        velocity = u(z, grid[i])
        x0 = z - grid[i] * velocity
        z = x0 + grid[i + 1] * velocity
    return z
""",
        """
def euler(u, z, grid):  # calls itself
    if len(grid) == 1:
        return z
    return euler(u, z - (grid[0] - grid[1]) * u(z, grid[0]), grid[1:])
""",
    ],
    "ex-21-straight": [
        """
def how_bent(path, grid):  # a loop over the steps, still a tensor
    whole = (path[0] - path[-1]) / (grid[0] - grid[-1])
    total = 0
    for i in range(len(grid) - 1):
        length = grid[i] - grid[i + 1]
        u = (path[i] - path[i + 1]) / length
        total = total + length * (u - whole).square().sum(1).mean()
    return total / (grid[0] - grid[-1])
""",
        """
def how_bent(path, grid):  # S is the mean square of u less the square of its mean; float32
    d = torch.tensor(grid).diff()
    share = d / d.sum()
    u = path.float().diff(dim=0) / d[:, None, None]
    mean = (share[:, None, None] * u).sum(0)
    return (share @ (u**2).sum(2).mean(1) - (mean**2).sum(1).mean()).clamp(min=0) + 0.0
""",
    ],
}
