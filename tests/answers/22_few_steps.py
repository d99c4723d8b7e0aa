"""Wrong and right answers to the exercises of chapter 22."""

WRONG = {
    "ex-22-target": [
        (
            """
def velocity_target(z_t, z_s, t, s):  # from noise to data
    return (z_s - z_t) / (t - s)
""",
            "u points from data to noise",
        ),
        (
            """
def velocity_target(z_t, z_s, t, s):  # the way, not the slope
    return z_t - z_s
""",
            "divide the way by the time it takes",
        ),
        (
            """
def velocity_target(z_t, z_s, t, s):  # as if z_s were the data
    return (z_t - z_s) / t
""",
            "divide the way by the time it takes",
        ),
        (
            """
def velocity_target(z_t, z_s, t, s):  # right for the check's first step alone
    return (z_t - z_s) / 0.6
""",
            "does not end in z_s",
        ),
        (
            """
def velocity_target(z_t, z_s, t, s):
    u = (z_t - z_s) / (t - s)
""",
            "Return one velocity for each point",
        ),
    ],
    "ex-22-pull": [
        (
            """
def pull_loss(x, pull):  # for three points
    return 0.5 * ((x - (x - pull).detach()) ** 2).sum() / 3
""",
            "pull / len(x)",
        ),
        (
            """
def pull_loss(x, pull):  # away from where it should go
    return 0.5 * ((x - (x + pull).detach()) ** 2).sum() / len(x)
""",
            "The sign",
        ),
        (
            """
def pull_loss(x, pull):  # without the half
    return ((x - (x - pull).detach()) ** 2).sum() / len(x)
""",
            "a factor 2",
        ),
        (
            """
def pull_loss(x, pull):  # a sum
    return 0.5 * ((x - (x - pull).detach()) ** 2).sum()
""",
            "Divide by the number of points.",
        ),
        (
            """
def pull_loss(x, pull):  # the mean over the coordinates, too
    return 0.5 * ((x - (x - pull).detach()) ** 2).mean()
""",
            "not of coordinates",
        ),
        (
            """
def pull_loss(x, pull):  # the target follows
    return 0.5 * ((x - (x - pull)) ** 2).sum() / len(x)
""",
            "The gradient is 0",
        ),
        (
            """
def pull_loss(x, pull):  # all detached
    x = x.detach()
    return 0.5 * ((x - (x - pull)) ** 2).sum() / len(x)
""",
            "does not depend on x",
        ),
        (
            """
def pull_loss(x, pull):  # no squared distance
    return (pull * x).sum() / len(x)
""",
            "no squared distance",
        ),
        (
            """
def pull_loss(x, pull):
    return 0.5 * ((x - (x - pull).detach()) ** 2).sum(1)
""",
            "Return one number",
        ),
    ],
    "ex-22-boundary": [
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
}

RIGHT = {
    "ex-22-target": [
        """
def velocity_target(z_t, z_s, t, s):  # float64, the other way round twice
    return (z_s.double() - z_t) / (s - t)
""",
        """
def velocity_target(z_t, z_s, t, s):  # through the guess of x_0
    x0 = (z_s - s / t * z_t) / (1 - s / t)
    return (z_t - x0) / t
""",
    ],
    "ex-22-pull": [
        """
def pull_loss(x, pull):  # point by point
    with torch.no_grad():
        goal = x - pull
    return sum(((a - b) ** 2).sum() for a, b in zip(x, goal)) / 2 / len(x)
""",
        """
def pull_loss(x, pull):  # by PyTorch's function
    return torch.nn.functional.mse_loss(x, (x - pull).detach(), reduction="sum") / (2 * len(x))
""",
    ],
    "ex-22-boundary": [
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
}
