"""Wrong and right answers to the exercises of chapter 20."""

WRONG = {
    "ex-20-clock": [
        (
            """
def same_moment(a, b, t):  # counts from 0
    known = torch.logit(b)
    wanted = torch.logit(a[t - 1]).clamp(known[-1], known[0])
    i = torch.searchsorted(-known, -wanted).clamp(1, len(b) - 1)
    return float(i - 1 + (wanted - known[i - 1]) / (known[i] - known[i - 1]))
""",
            "You count from 0",
        ),
        (
            """
def same_moment(a, b, t):  # the nearest entry
    return int((torch.logit(b) - torch.logit(a[t - 1])).abs().argmin()) + 1
""",
            "lies between the steps",
        ),
        (
            """
def same_moment(a, b, t):  # interpolates alpha_bar
    wanted = a[t - 1].clamp(b[-1], b[0])
    i = torch.searchsorted(-b, -wanted).clamp(1, len(b) - 1)
    return float(i + (wanted - b[i - 1]) / (b[i] - b[i - 1]))
""",
            "What is linear between the entries",
        ),
        (
            """
def same_moment(a, b, t):
    wanted = torch.logit(a[t - 1])
""",
            "Return a number",
        ),
        (
            """
def same_moment(a, b, t):  # the same share of the way
    return 1 + (t - 1) * (len(b) - 1) / (len(a) - 1) + 0.001234
""",
            "the other clock shows",
        ),
    ],
    "ex-20-wrap": [
        (
            """
def precondition(F, x_bar, sigma, sigma_data):  # no c_in
    r2 = sigma**2 + sigma_data**2
    return sigma_data**2 / r2 * x_bar + sigma * sigma_data / r2**0.5 * F(x_bar)
""",
            "F must not see x_bar itself",
        ),
        (
            """
def precondition(F, x_bar, sigma, sigma_data):  # a variance
    r2 = sigma**2 + sigma_data**2
    return sigma_data**2 / r2 * x_bar + sigma * sigma_data / r2**0.5 * F(x_bar / r2)
""",
            "divide by the variance",
        ),
        (
            """
def precondition(F, x_bar, sigma, sigma_data):  # skip and the rest exchanged
    r2 = sigma**2 + sigma_data**2
    return sigma**2 / r2 * x_bar + sigma * sigma_data / r2**0.5 * F(x_bar / r2**0.5)
""",
            "Check c_skip",
        ),
        (
            """
def precondition(F, x_bar, sigma, sigma_data):  # two calls
    r = (sigma**2 + sigma_data**2) ** 0.5
    F(x_bar / r)
    return (sigma_data / r) ** 2 * x_bar + sigma * sigma_data / r * F(x_bar / r)
""",
            "Call F once",
        ),
        (
            """
def precondition(F, x_bar, sigma, sigma_data):
    F(x_bar / (sigma**2 + sigma_data**2) ** 0.5)
""",
            "Return D",
        ),
    ],
    "ex-20-heun": [
        (
            """
def heun_step(D, x_bar, a, b):  # Euler, with the second call made for nothing
    there = x_bar + (b - a) * (x_bar - D(x_bar, a)) / a
    if b:
        D(there, b)
    return there
""",
            "That is Euler's step",
        ),
        (
            """
def heun_step(D, x_bar, a, b):  # from where Euler's step ended
    slope = (x_bar - D(x_bar, a)) / a
    there = x_bar + (b - a) * slope
    if b == 0:
        return there
    return there + (b - a) * (slope + (there - D(there, b)) / b) / 2
""",
            "Start from x_bar again",
        ),
        (
            """
def heun_step(D, x_bar, a, b):  # divides by 0 at the end
    slope = (x_bar - D(x_bar, a)) / a
    there = x_bar + (b - a) * slope
    second = (there - D(there, b)) / torch.tensor(b)
    return x_bar + (b - a) * (slope + second) / 2
""",
            "divide by 0",
        ),
        (
            """
def heun_step(D, x_bar, a, b):  # upwards
    slope = (x_bar - D(x_bar, a)) / a
    there = x_bar + (a - b) * slope
    if b == 0:
        return there
    return x_bar + (a - b) * (slope + (there - D(there, b)) / b) / 2
""",
            "b - a is negative",
        ),
        (
            """
def heun_step(D, x_bar, a, b):  # the second call at the old level
    slope = (x_bar - D(x_bar, a)) / a
    there = x_bar + (b - a) * slope
    if b == 0:
        return there
    return x_bar + (b - a) * (slope + (there - D(there, a)) / a) / 2
""",
            "yours was asked at",
        ),
    ],
}

RIGHT = {
    "ex-20-clock": [
        """
def same_moment(a, b, t):  # by sigma, a loop, floats
    level = lambda q: math.log((1 - float(q)) / float(q))
    wanted = min(max(level(a[t - 1]), level(b[0])), level(b[-1]))
    for i in range(1, len(b)):
        low, high = level(b[i - 1]), level(b[i])
        if wanted <= high:
            return i + (wanted - low) / (high - low)
    return float(len(b))
""",
        """
def same_moment(a, b, t):  # the library's own
    other = md.Schedule.from_alpha_bar(torch.cat([torch.ones(1, dtype=b.dtype), b]))
    return other.t_at_sigma(((1 - a[t - 1]) / a[t - 1]).sqrt())
""",
    ],
    "ex-20-wrap": [
        """
def precondition(F, x_bar, sigma, sigma_data):  # by the angle
    angle = math.atan2(sigma, sigma_data)
    r = sigma_data / math.cos(angle)
    return math.cos(angle) ** 2 * x_bar + sigma * math.cos(angle) * F(x_bar / r)
""",
        """
def precondition(F, x_bar, sigma, sigma_data):  # float32, tensors
    r = torch.tensor([sigma, sigma_data]).norm()
    z = x_bar.float() / r
    return sigma_data * (sigma_data / r * z + sigma / r * F(z))
""",
    ],
    "ex-20-heun": [
        """
def heun_step(D, x_bar, a, b):  # by the pair
    x0 = D(x_bar, a)
    eps = (x_bar - x0) / a
    guess = x0 + b * eps
    if not b:
        return x0
    return x_bar + (b - a) * (0.5 * eps + 0.5 * (guess - D(guess, b)) / b)
""",
        """
def heun_step(D, x_bar, a, b):  # float32
    x = x_bar.float()
    slope = lambda y, s: (y - D(y, s)) / s
    k = slope(x, a)
    if b > 0:
        k = (k + slope(x - (a - b) * k, b)) / 2
    return x - (a - b) * k
""",
    ],
}
