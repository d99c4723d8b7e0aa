"""Wrong and right answers to the exercises of chapter 12."""

WRONG = {
    "ex-12-denoised": [
        (
            """
def denoised(xt, eps, ab_t):  # the root of ab divides only the first term
    return xt / math.sqrt(ab_t) - math.sqrt(1 - ab_t) * eps
""",
            "divide all of that by sqrt(ab)",
        ),
        (
            """
def denoised(xt, eps, ab_t):  # no root over the noise's variance
    return (xt - (1 - ab_t) * eps) / math.sqrt(ab_t)
""",
            "take off sqrt(1 - ab) times eps",
        ),
        (
            """
def denoised(xt, eps, ab_t):  # no root below
    return (xt - math.sqrt(1 - ab_t) * eps) / ab_t
""",
            "x_t / sqrt(ab)",
        ),
        (
            """
def denoised(xt, eps, ab_t):  # the sign
    return (xt + math.sqrt(1 - ab_t) * eps) / math.sqrt(ab_t)
""",
            "take off sqrt(1 - ab) times eps",
        ),
        (
            """
def denoised(xt, eps, ab_t):  # not divided at all
    return xt - math.sqrt(1 - ab_t) * eps
""",
            "x_t / sqrt(ab)",
        ),
        (
            """
def denoised(xt, eps, ab_t):
    x0 = (xt - math.sqrt(1 - ab_t) * eps) / math.sqrt(ab_t)
""",
            "Return the estimate",
        ),
    ],
    "ex-12-gamma": [
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # c not squared
    k = 0.0 if ab_before == 1 else math.sqrt(1 - ab_before - sigma**2)
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
    return c / (2 * sigma**2)
""",
            "c and sigma are squared",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # sigma not squared
    k = 0.0 if ab_before == 1 else math.sqrt(1 - ab_before - sigma**2)
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
    return c**2 / (2 * sigma)
""",
            "c and sigma are squared",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # the one half forgotten
    k = 0.0 if ab_before == 1 else math.sqrt(1 - ab_before - sigma**2)
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
    return c**2 / sigma**2
""",
            "which is 2 times as much",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # DDIM's k, whatever sigma is
    k = math.sqrt(1 - ab_before)
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
    return c**2 / (2 * sigma**2)
""",
            "k = sqrt(1 - ab_before - sigma^2)",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # no exception at t = 1
    k = math.sqrt(1 - ab_before - sigma**2)
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
    return c**2 / (2 * sigma**2)
""",
            "At t = 1, k is 0",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # the same with a power: NaN, or a complex number
    k = (float(1 - ab_before) - float(sigma) ** 2) ** 0.5
    c = (ab_before * (1 - ab_t) / ab_t) ** 0.5 - k
    return c**2 / (2 * sigma**2)
""",
            "At t = 1, k is 0",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):  # as the paper prints it
    return 1 / (2 * sigma**2 * ab_t)
""",
            "the printed weight, without its numerator",
        ),
        (
            """
def my_gamma(ab_before, ab_t, sigma):
    k = math.sqrt(max(0.0, 1 - ab_before - sigma**2))
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
""",
            "is there a return?",
        ),
    ],
    "ex-12-constant": [
        (
            """
def my_constant(ab_T, sigma_1, d, power):  # the second term for one value only
    v = 1 - ab_T
    kl = 0.5 * (v + ab_T * power - 1 - math.log(v))
    return d * kl + 0.5 * math.log(2 * math.pi * sigma_1**2)
""",
            "Both grow with d",
        ),
        (
            """
def my_constant(ab_T, sigma_1, d, power):  # m^2 without ab_T
    v = 1 - ab_T
    kl = 0.5 * (v + power - 1 - math.log(v))
    return d * kl + 0.5 * d * math.log(2 * math.pi * sigma_1**2)
""",
            "m^2 = ab_T * power",
        ),
        (
            """
def my_constant(ab_T, sigma_1, d, power):  # sigma where its square belongs
    v = 1 - ab_T
    kl = 0.5 * (v + ab_T * power - 1 - math.log(v))
    return d * kl + 0.5 * d * math.log(2 * math.pi * sigma_1)
""",
            "the other is the last step",
        ),
        (
            """
def my_constant(ab_T, sigma_1, d, power):  # only the KL
    v = 1 - ab_T
    return d * 0.5 * (v + ab_T * power - 1 - math.log(v))
""",
            "the other is the last step",
        ),
        (
            """
def my_constant(ab_T, sigma_1, d, power):  # bits
    v = 1 - ab_T
    kl = 0.5 * (v + ab_T * power - 1 - math.log(v))
    return (d * kl + 0.5 * d * math.log(2 * math.pi * sigma_1**2)) / math.log(2)
""",
            "nats",
        ),
        (
            """
def my_constant(ab_T, sigma_1, d, power):  # the chapter's ab_T instead of the argument
    v = float(1 - ab[T])
    kl = 0.5 * (v + float(ab[T]) * power - 1 - math.log(v))
    return d * kl + 0.5 * d * math.log(2 * math.pi * sigma_1**2)
""",
            "One term is the KL",
        ),
        (
            """
def my_constant(ab_T, sigma_1, d, power):
    v = 1 - ab_T
""",
            "is there a return?",
        ),
    ],
    "ex-12-x0": [
        (
            """
def x0_weight(ab_before, ab_t, sigma):  # the slope not squared
    k = math.sqrt(1 - ab_before - sigma**2)
    slope = math.sqrt(ab_before) - k * math.sqrt(ab_t / (1 - ab_t))
    return slope / (2 * sigma**2)
""",
            "it is squared",
        ),
        (
            """
def x0_weight(ab_before, ab_t, sigma):  # the weight of the other network
    k = math.sqrt(1 - ab_before - sigma**2)
    c = math.sqrt(ab_before * (1 - ab_t) / ab_t) - k
    return c**2 / (2 * sigma**2)
""",
            "c_t is that bracket times the factor of line 7",
        ),
        (
            """
def x0_weight(ab_before, ab_t, sigma):  # x_t's own x_0 forgotten
    return ab_before / (2 * sigma**2)
""",
            "The slope is the bracket of line 6",
        ),
        (
            """
def x0_weight(ab_before, ab_t, sigma):  # a root forgotten
    k = math.sqrt(1 - ab_before - sigma**2)
    slope = math.sqrt(ab_before) - k * ab_t / (1 - ab_t)
    return slope**2 / (2 * sigma**2)
""",
            "The slope is the bracket of line 6",
        ),
        (
            """
def x0_weight(ab_before, ab_t, sigma):  # no one half
    k = math.sqrt(1 - ab_before - sigma**2)
    slope = math.sqrt(ab_before) - k * math.sqrt(ab_t / (1 - ab_t))
    return (slope / sigma) ** 2
""",
            "2 times as much",
        ),
        (
            """
def x0_weight(ab_before, ab_t, sigma):
    k = math.sqrt(1 - ab_before - sigma**2)
""",
            "is there a return?",
        ),
    ],
}

RIGHT = {
    "ex-12-denoised": [
        """
def denoised(xt, eps, ab_t):  # tensors' own roots
    return xt / ab_t.sqrt() - (1 / ab_t - 1).sqrt() * eps
""",
        """
def denoised(xt, eps, ab_t):  # numbers, float32
    a = float(ab_t)
    return (xt.float() - (1 - a) ** 0.5 * eps.float()) / a**0.5
""",
    ],
    "ex-12-gamma": [
        """
def my_gamma(ab_before, ab_t, sigma):  # tensors; a clamp serves t = 1
    k = (1 - ab_before - sigma**2).clamp(min=0).sqrt()
    c = (ab_before * (1 / ab_t - 1)).sqrt() - k
    return 0.5 * (c / sigma) ** 2
""",
        """
def my_gamma(ab_before, ab_t, sigma):  # numbers in float32's precision
    before, now, sigma = (float(a.float()) for a in (ab_before, ab_t, sigma))
    k = math.sqrt(max(1 - before - sigma**2, 0))
    c = math.sqrt(before) * math.sqrt(1 - now) / math.sqrt(now) - k
    return c * c / sigma**2 / 2
""",
    ],
    "ex-12-constant": [
        """
def my_constant(ab_T, sigma_1, d, power):  # tensors; one logarithm
    v = 1 - ab_T
    each = v + ab_T * power - 1 + torch.log(2 * math.pi * sigma_1**2 / v)
    return d / 2 * each
""",
        """
def my_constant(ab_T, sigma_1, d, power):  # value by value, float32
    total = torch.zeros(())
    for _ in range(d):
        total += 0.5 * (ab_T * (power - 1) - torch.log1p(-ab_T))
        total += 0.5 * math.log(2 * math.pi) + math.log(sigma_1)
    return total
""",
    ],
    "ex-12-x0": [
        """
def x0_weight(ab_before, ab_t, sigma):  # from gamma: x_0's error is eps's, rescaled
    k = (1 - ab_before - sigma**2).sqrt()
    c = (ab_before * (1 - ab_t) / ab_t).sqrt() - k
    return c**2 / (2 * sigma**2) * ab_t / (1 - ab_t)
""",
        """
def x0_weight(ab_before, ab_t, sigma):  # numbers in float32's precision
    before, now = float(ab_before.float()), float(ab_t.float())
    k = (1 - before - sigma**2) ** 0.5
    return (before**0.5 - k * (now / (1 - now)) ** 0.5) ** 2 / sigma**2 / 2
""",
    ],
}
