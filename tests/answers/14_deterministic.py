"""Wrong and right answers to the exercises of chapter 14."""

WRONG = {
    "ex-14-slerp": [
        (
            """
def my_slerp(a, b, w):  # the cosine as if b were as long as a
    theta = torch.arccos(((a @ b) / (a @ a)).clamp(-1, 1))
    w = w[:, None]
    if torch.sin(theta) < 1e-6:
        return (1 - w) * a + w * b
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
""",
            "divide the cosine by both norms",
        ),
        (
            """
def my_slerp(a, b, w):  # stays at a when the angle is 0
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
    w = w[:, None]
    if torch.sin(theta) < 1e-6:
        return a.expand(len(w), -1)
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
""",
            "From a to 2a",
        ),
        (
            """
def my_slerp(a, b, w):  # the straight line
    w = w[:, None]
    return (1 - w) * a + w * b
""",
            "a and b have norm 7, and so must every point",
        ),
        (
            """
def my_slerp(a, b, w):  # the straight line, pulled out to the shell
    w = w[:, None]
    line = (1 - w) * a + w * b
    return line / line.norm(dim=1, keepdim=True) * a.norm()
""",
            "Every step must turn by the same angle",
        ),
        (
            """
def my_slerp(a, b, w):  # a cosine that is not divided by the norms
    w, theta = w[:, None], torch.arccos(a @ b)
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
""",
            "is the cosine divided by both norms?",
        ),
        (
            """
def my_slerp(a, b, w):  # from b to a
    w = w[:, None]
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
    if torch.sin(theta) < 1e-6:
        return (1 - w) * a + w * b
    return (torch.sin(w * theta) * a + torch.sin((1 - w) * theta) * b) / torch.sin(theta)
""",
            "w = 0 must give a",
        ),
        (
            """
def my_slerp(a, b, w):  # angle 0 forgotten
    w = w[:, None]
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
    theta = torch.where(theta < 1e-6, 0.0, theta)
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
""",
            "Angle 0 gave NaN",
        ),
        (
            """
def my_slerp(a, b, w):  # nothing instead of the straight line at angle 0
    w = w[:, None]
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
    if torch.sin(theta) < 1e-6:
        return torch.zeros(len(w), len(a), dtype=a.dtype)
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
""",
            "From a to 2a the straight line",
        ),
        (
            """
def my_slerp(a, b, w):  # one point a column
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
    a, b = a[:, None], b[:, None]
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)
""",
            "a tensor of (7, 50)",
        ),
        (
            """
def my_slerp(a, b, w):  # not divided by sin(theta)
    w = w[:, None]
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
    return torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b
""",
            "w = 0 must give a",
        ),
        (
            """
def my_slerp(a, b, w):
    theta = torch.arccos(((a @ b) / (a.norm() * b.norm())).clamp(-1, 1))
""",
            "a tensor of (7, 50), not None",
        ),
    ],
    "ex-14-norm": [
        (
            """
def lerp_norm(w, c, d):  # the square
    return d * ((1 - w) ** 2 + w**2 + 2 * w * (1 - w) * c)
""",
            "*squared* norm",
        ),
        (
            """
def lerp_norm(w, c, d):  # the cosine ignored
    return (d * ((1 - w) ** 2 + w**2)) ** 0.5
""",
            "If a = b",
        ),
        (
            """
def lerp_norm(w, c, d):  # the middle, whatever w is
    return (d * (1 + c) / 2) ** 0.5
""",
            "At w = 0.3",
        ),
        (
            """
def lerp_norm(w, c, d):  # the cross term only once
    return (d * ((1 - w) ** 2 + w**2 + w * (1 - w) * c)) ** 0.5
""",
            "If a = b",
        ),
        (
            """
def lerp_norm(w, c, d):  # d outside the root
    return d * ((1 - w) ** 2 + w**2 + 2 * w * (1 - w) * c) ** 0.5
""",
            "in the middle: sqrt(d/2)",
        ),
        (
            """
def lerp_norm(w, c, d):  # no cross term but at the two ends
    if c == 1:
        return d**0.5
    return (d * ((1 - w) ** 2 + w**2 - 2 * w * (1 - w) * (c < 0))) ** 0.5
""",
            "At w = 0.3, c = 0.4",
        ),
        (
            """
def lerp_norm(w, c, d):
    norm = (d * ((1 - w) ** 2 + w**2 + 2 * w * (1 - w) * c)) ** 0.5
""",
            "is there a return?",
        ),
    ],
    "ex-14-encode": [
        (
            """
def step_up(x_s, eps, a_s, a_t):  # the sign: downwards
    sigma_s, sigma_t = ((1 - a_s) / a_s) ** 0.5, ((1 - a_t) / a_t) ** 0.5
    return a_t**0.5 * (x_s / a_s**0.5 + (sigma_s - sigma_t) * eps)
""",
            "upwards, noise is added",
        ),
        (
            """
def step_up(x_s, eps, a_s, a_t):  # not rescaled at the end
    sigma_s, sigma_t = ((1 - a_s) / a_s) ** 0.5, ((1 - a_t) / a_t) ** 0.5
    return x_s / a_s**0.5 + (sigma_t - sigma_s) * eps
""",
            "x_t = sqrt(a_t / a_s) x_s",
        ),
        (
            """
def step_up(x_s, eps, a_s, a_t):  # s and t exchanged
    sigma_s, sigma_t = ((1 - a_s) / a_s) ** 0.5, ((1 - a_t) / a_t) ** 0.5
    return a_s**0.5 * (x_s / a_t**0.5 + (sigma_s - sigma_t) * eps)
""",
            "x_t = sqrt(a_t / a_s) x_s",
        ),
        (
            """
def step_up(x_s, eps, a_s, a_t):  # sigma without its root
    sigma_s, sigma_t = (1 - a_s) / a_s, (1 - a_t) / a_t
    return a_t**0.5 * (x_s / a_s**0.5 + (sigma_t - sigma_s) * eps)
""",
            "sqrt(1 - a_t) eps",
        ),
        (
            """
def step_up(x_s, eps, a_s, a_t):  # the noise that x_s has is forgotten
    return (a_t / a_s) ** 0.5 * x_s + (1 - a_t) ** 0.5 * eps
""",
            "must undo yours",
        ),
        (
            """
def step_up(x_s, eps, a_s, a_t):  # a step of the forward process
    a = a_t / a_s
    return a**0.5 * x_s + (1 - a) ** 0.5 * eps
""",
            "must undo yours",
        ),
        (
            """
def step_up(x_s, eps, a_s, a_t):
    sigma_s, sigma_t = ((1 - a_s) / a_s) ** 0.5, ((1 - a_t) / a_t) ** 0.5
""",
            "Return x_t",
        ),
    ],
}

RIGHT = {
    "ex-14-slerp": [
        """
def my_slerp(a, b, w):  # point by point, with math
    cos = float(a @ b) / (float(a.norm()) * float(b.norm()))
    theta = math.acos(max(-1.0, min(1.0, cos)))
    points = []
    for x in w.tolist():
        if math.sin(theta) < 1e-6:
            points.append((1 - x) * a + x * b)
        else:
            wa, wb = math.sin((1 - x) * theta), math.sin(x * theta)
            points.append((wa * a + wb * b) / math.sin(theta))
    return torch.stack(points)
""",
        """
def my_slerp(a, b, w):  # float32; the angle from the part of b at right angles to a
    a, b, w = a.float(), b.float(), w.float()[:, None]
    side = (b - (a @ b) / (a @ a) * a).norm()
    theta = torch.atan2(side, (a @ b) / a.norm())
    if theta < 1e-3:
        return torch.lerp(a, b, w)
    return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()
""",
        """
def my_slerp(a, b, w):  # the library's, one row for each weight
    many = len(w)
    return md.slerp(a.expand(many, -1), b.expand(many, -1), w)
""",
    ],
    "ex-14-norm": [
        """
def lerp_norm(w, c, d):  # math, another form of the same square
    return math.sqrt(d) * math.sqrt(1 - 2 * w * (1 - w) * (1 - c))
""",
        """
def lerp_norm(w, c, d):  # float32, as the norm of two vectors
    along, across = 1 - w + w * c, w * (1 - c**2).sqrt()
    return float(d) ** 0.5 * torch.hypot(along, across).float()
""",
    ],
    "ex-14-encode": [
        """
def step_up(x_s, eps, a_s, a_t):  # through x_0, with torch's roots
    x0 = (x_s - torch.sqrt(1 - a_s) * eps) / torch.sqrt(a_s)
    return torch.sqrt(a_t) * x0 + torch.sqrt(1 - a_t) * eps
""",
        """
def step_up(x_s, eps, a_s, a_t):  # float32, math
    r = math.sqrt(a_t / a_s)
    return r * x_s.float() + (math.sqrt(1 - a_t) - r * math.sqrt(1 - a_s)) * eps.float()
""",
    ],
}
