"""Wrong and right answers to the exercises of chapter 17."""

WRONG = {
    "ex-17-conv": [
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):  # a multiply-add counts once
    out = -(-side // stride)
    return k * k * c_in * c_out * out * out
""",
            "One product and one addition are 2",
        ),
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):  # the kernel has one side
    out = -(-side // stride)
    return 2 * k * c_in * c_out * out * out
""",
            "not 54",
        ),
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):  # one output channel
    out = -(-side // stride)
    return 2 * k * k * c_in * out * out
""",
            "not 54",
        ),
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):  # the stride ignored
    return 2 * k * k * c_in * c_out * side * side
""",
            "With stride 2, 16 pixels become 8",
        ),
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):  # rounded down
    out = side // stride
    return 2 * k * k * c_in * c_out * out * out
""",
            "With stride 2, 7 pixels become 4",
        ),
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):  # the stride in one direction
    return 2 * k * k * c_in * c_out * side * -(-side // stride)
""",
            "in both directions",
        ),
        (
            """
def conv_flops(c_in, c_out, k, side, stride=1):
    out = -(-side // stride)
""",
            "your function returns None",
        ),
    ],
    "ex-17-mfu": [
        (
            """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # only the forward pass
    return flops_forward * images_per_second / (peak * gpus)
""",
            "three times the forward work",
        ),
        (
            """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # one card's yardstick
    return 3 * flops_forward * images_per_second / peak
""",
            "Two cards have twice the yardstick",
        ),
        (
            """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # the images of every card
    return 3 * flops_forward * images_per_second * gpus / peak
""",
            "Two cards have twice the yardstick",
        ),
        (
            """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # in percent
    return 100 * 3 * flops_forward * images_per_second / (peak * gpus)
""",
            "use 0.3 of it, not 30",
        ),
        (
            """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # upside down
    return peak * gpus / (3 * flops_forward * images_per_second)
""",
            "use 0.3 of it, not 3.33",
        ),
        (
            """
def mfu(images_per_second, flops_forward, peak, gpus=1):
    share = 3 * flops_forward * images_per_second / (peak * gpus)
""",
            "is there a return?",
        ),
    ],
    "ex-17-unequal": [
        (
            """
def combine(gradients, sizes):  # the mean of the parts
    return sum(gradients) / len(gradients)
""",
            "Weight each gradient by the number of images",
        ),
        (
            """
def combine(gradients, sizes):  # the sum over images
    return sum(g * n for g, n in zip(gradients, sizes))
""",
            "the weights must sum to 1",
        ),
        (
            """
def combine(gradients, sizes):  # divided by the number of parts
    return sum(g * n for g, n in zip(gradients, sizes)) / len(gradients)
""",
            "the weights must sum to 1",
        ),
        (
            """
def combine(gradients, sizes):  # upside down
    weights = [1 / n for n in sizes]
    return sum(g * w for g, w in zip(gradients, weights)) / sum(weights)
""",
            "Weight each gradient by the number of images",
        ),
        (
            """
def combine(gradients, sizes):  # the exercise's sizes
    return sum(g * n for g, n in zip(gradients, [5, 5, 2])) / 12
""",
            "Parts [1, 2, 4, 5]",
        ),
        (
            """
def combine(gradients, sizes):  # the three parts of the exercise
    return (gradients[0] * sizes[0] + gradients[1] * sizes[1] + gradients[2] * sizes[2]) / 12
""",
            "Parts [1, 2, 4, 5]",
        ),
        (
            """
def combine(gradients, sizes):
    total = sum(g * n for g, n in zip(gradients, sizes))
""",
            "Return the gradient",
        ),
    ],
    "ex-17-budget": [
        (
            """
def affordable(money, price, flops_forward, peak, mfu):  # only the forward pass
    return money / price * 3600 * peak * mfu / flops_forward
""",
            "an image needs 3 * flops_forward",
        ),
        (
            """
def affordable(money, price, flops_forward, peak, mfu):  # hours for seconds
    return money / price * peak * mfu / (3 * flops_forward)
""",
            "of 3600 seconds",
        ),
        (
            """
def affordable(money, price, flops_forward, peak, mfu):  # a card that is always busy
    return money / price * 3600 * peak / (3 * flops_forward)
""",
            "a second does peak * mfu FLOPs",
        ),
        (
            """
def affordable(money, price, flops_forward, peak, mfu):  # the chapter's price
    return money / PRICE * 3600 * peak * mfu / (3 * flops_forward)
""",
            "use `price`",
        ),
        (
            """
def affordable(money, price, flops_forward, peak, mfu):  # the price multiplied
    return money * price * 3600 * peak * mfu / (3 * flops_forward)
""",
            "Money / price are hours",
        ),
        (
            """
def affordable(money, price, flops_forward, peak, mfu):  # the check's money
    return 12.0 / price * 3600 * peak * mfu / (3 * flops_forward)
""",
            "Twice the money",
        ),
        (
            """
def affordable(money, price, flops_forward, peak, mfu):
    seconds = money / price * 3600
""",
            "is there a return?",
        ),
    ],
}

RIGHT = {
    "ex-17-conv": [
        """
def conv_flops(c_in, c_out, k, side, stride=1):  # output by output
    out = len(range(0, side, stride))
    total = 0
    for _ in range(out * out):
        total += c_out * (2 * c_in * k**2)
    return total
""",
        """
def conv_flops(c_in, c_out, k, side, stride=1):  # PyTorch's formula for the output; a float
    p = k // 2
    out = math.floor((side + 2 * p - k) / stride + 1)
    return 2.0 * k**2 * c_in * c_out * out**2
""",
    ],
    "ex-17-mfu": [
        """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # card by card
    each = images_per_second / gpus
    return each * (flops_forward + 2 * flops_forward) / peak
""",
        """
def mfu(images_per_second, flops_forward, peak, gpus=1):  # a float32 tensor
    return torch.tensor(float(images_per_second)) * 3 * flops_forward / peak / gpus
""",
    ],
    "ex-17-unequal": [
        """
def combine(gradients, sizes):  # one matrix product, in float32
    share = torch.tensor(sizes).float() / sum(sizes)
    return share @ torch.stack(list(gradients)).float()
""",
        """
def combine(gradients, sizes):  # a running mean
    mean, seen = torch.zeros_like(gradients[0]), 0
    for g, n in zip(gradients, sizes):
        seen += n
        mean = mean + (g - mean) * n / seen
    return mean
""",
    ],
    "ex-17-budget": [
        """
def affordable(money, price, flops_forward, peak, mfu):  # divided by what one image costs
    seconds = 3 * flops_forward / (peak * mfu)
    return money / (seconds * price / 3600)
""",
        """
def affordable(money, price, flops_forward, peak, mfu):  # whole images, with the calculator
    one = cost(1, flops_forward, peak, mfu)["GPU-hours"] * price
    return int(money / one)
""",
    ],
}
