"""Wrong and right answers to the exercises of appendix 91."""

WRONG = {
    "ex-91-guess": [
        (
            """
def noise_guess(y, guess, a, b):  # the sign
    return (a * guess - y) / b
""",
            "The sign is the other one",
        ),
        (
            """
def noise_guess(y, guess, a, b):  # divided by the factor of the pixel
    return (y - a * guess) / a
""",
            "what stands before eps",
        ),
        (
            """
def noise_guess(y, guess, a, b):  # not divided
    return y - a * guess
""",
            "something is left to divide by",
        ),
        (
            """
def noise_guess(y, guess, a, b):  # the pixel is not scaled
    return (y - guess) / b
""",
            "Take the mean of both sides",
        ),
        (
            """
def noise_guess(y, guess, a, b):  # the variance in place of the standard deviation
    return (y - a * guess) / b**2
""",
            "Take the mean of both sides",
        ),
        (
            """
def noise_guess(y, guess, a, b):  # the mean noise before y is seen
    return 0 * y
""",
            "Take the mean of both sides",
        ),
        (
            """
def noise_guess(y, guess, a, b):  # averaged over y
    return ((y - a * guess) / b).mean()
""",
            "One number for each y",
        ),
    ],
    "ex-91-paired": [
        (
            """
def paired(first, second):  # the order
    d = first - second
    return d.mean(), d.std() / len(d) ** 0.5
""",
            "Second minus first",
        ),
        (
            """
def paired(first, second):  # as if the images were different ones
    error = (first.var() / len(first) + second.var() / len(second)) ** 0.5
    return second.mean() - first.mean(), error
""",
            "what they share cancels",
        ),
        (
            """
def paired(first, second):  # the spread of one
    d = second - first
    return d.mean(), d.std()
""",
            "the spread of one difference",
        ),
        (
            """
def paired(first, second):  # divided by n
    d = second - first
    return d.mean(), d.std() / len(d)
""",
            "The standard error is",
        ),
        (
            """
def paired(first, second):  # the variance
    d = second - first
    return d.mean(), d.var() / len(d)
""",
            "The standard error is",
        ),
        (
            """
def paired(first, second):  # one number
    return (second - first).mean()
""",
            "Return two numbers",
        ),
        (
            """
def paired(first, second):  # the median
    d = second - first
    return d.median(), d.std() / len(d) ** 0.5
""",
            "The mean difference is",
        ),
    ],
}

RIGHT = {
    "ex-91-guess": [
        """
def noise_guess(y, guess, a, b):
    return y / b - guess * (a / b)
""",
        """
def noise_guess(y, guess, a, b):
    return torch.stack([(v - a * g) / b for v, g in zip(y, guess)])
""",
        """
def noise_guess(y, guess, a, b):  # float32
    return (y - a * guess).float() / b
""",
    ],
    "ex-91-paired": [
        """
def paired(first, second):
    d = second - first
    return float(d.mean()), float(d.std(unbiased=False)) / len(d) ** 0.5
""",
        """
def paired(first, second):
    n = len(first)
    covariance = torch.cov(torch.stack([first, second]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return second.mean() - first.mean(), (variance / n).sqrt()
""",
        """
def paired(first, second):  # one tensor of two numbers
    d = second - first
    return torch.stack([d.mean(), d.std() / len(d) ** 0.5])
""",
    ],
}
