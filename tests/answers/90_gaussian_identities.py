"""Wrong and right answers to the exercises of appendix 90."""

WRONG = {
    "ex-90-three": [
        (
            """
def product_of_bells(means, variances):  # variances instead of precisions
    total = variances.sum()
    return (means * variances).sum() / total, total
""",
            "Add 1/variance, then invert",
        ),
        (
            """
def product_of_bells(means, variances):  # not inverted
    precision = (1 / variances).sum()
    return (means / variances).sum() / precision, precision
""",
            "then invert the sum",
        ),
        (
            """
def product_of_bells(means, variances):  # the plain mean of the means
    return means.mean(), 1 / (1 / variances).sum()
""",
            "Weights are the precisions",
        ),
        (
            """
def product_of_bells(means, variances):  # not divided by the sum of the weights
    precision = (1 / variances).sum()
    return (means / variances).sum(), 1 / precision
""",
            "Weights are the precisions",
        ),
        (
            """
def product_of_bells(means, variances):  # the mean of the precisions
    precision = (1 / variances).mean()
    return (means / variances).mean() / precision, 1 / precision
""",
            "Add 1/variance",
        ),
        (
            """
def product_of_bells(means, variances):  # another order
    precision = (1 / variances).sum()
    return 1 / precision, (means / variances).sum() / precision
""",
            "the second number",
        ),
        (
            """
def product_of_bells(means, variances):  # the first two only
    v, w = variances[0], variances[1]
    return (means[0] * w + means[1] * v) / (v + w), v * w / (v + w)
""",
            "The variance of the product of 3 bells",
        ),
        (
            """
def product_of_bells(means, variances):
    precision = (1 / variances).sum()
""",
            "Return two: mean, variance",
        ),
    ],
    "ex-90-kl": [
        (
            """
def kl(mean1, var1, mean2, var2):  # averaged over the pixels
    each = 0.5 * (var1 / var2 - 1 - (var1 / var2).log() + (mean1 - mean2) ** 2 / var2)
    return each.expand_as(mean1).flatten(1).mean(1)
""",
            "to be summed, not averaged",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):  # the other direction
    each = 0.5 * (var2 / var1 - 1 - (var2 / var1).log() + (mean1 - mean2) ** 2 / var1)
    return each.expand_as(mean1).flatten(1).sum(1)
""",
            "That is KL(2 || 1)",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):  # the variance counts once
    spread = 0.5 * (var1 / var2 - 1 - (var1 / var2).log()).flatten(1).sum(1)
    return spread + (0.5 * (mean1 - mean2) ** 2 / var2).flatten(1).sum(1)
""",
            "once per pixel, not once per image",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):  # the sum over the batch, too
    each = 0.5 * (var1 / var2 - 1 - (var1 / var2).log() + (mean1 - mean2) ** 2 / var2)
    return each.expand_as(mean1).sum()
""",
            "One number per sample",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):  # the -1 forgotten
    each = 0.5 * (var1 / var2 - (var1 / var2).log() + (mean1 - mean2) ** 2 / var2)
    return each.expand_as(mean1).flatten(1).sum(1)
""",
            "KL of a distribution with itself is 0",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):  # the sign of the logarithm
    each = 0.5 * (var1 / var2 - 1 + (var1 / var2).log() + (mean1 - mean2) ** 2 / var2)
    return each.expand_as(mean1).flatten(1).sum(1)
""",
            "never negative",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):  # means without their square
    each = 0.5 * (var1 / var2 - 1 - (var1 / var2).log() + (mean1 - mean2).abs() / var2**0.5)
    return each.expand_as(mean1).flatten(1).sum(1)
""",
            "instead of",
        ),
        (
            """
def kl(mean1, var1, mean2, var2):
    each = 0.5 * (var1 / var2 - 1 - (var1 / var2).log() + (mean1 - mean2) ** 2 / var2)
""",
            "One number per sample",
        ),
    ],
}

RIGHT = {
    "ex-90-three": [
        """
def product_of_bells(means, variances):  # one after the other, with floats
    mean, var = float(means[0]), float(variances[0])
    for m, v in zip(means[1:].tolist(), variances[1:].tolist()):
        mean, var = (mean * v + m * var) / (var + v), var * v / (var + v)
    return mean, var
""",
        """
def product_of_bells(means, variances):  # float32, a list
    share = (-variances.float().log()).softmax(0)
    return [share @ means.float(), 1 / (1 / variances.float()).sum()]
""",
        """
def product_of_bells(means, variances):  # one tensor of two numbers
    var = 1 / (1 / variances).sum()
    return torch.stack([var * (means / variances).sum(), var])
""",
    ],
    "ex-90-kl": [
        """
def kl(mean1, var1, mean2, var2):  # PyTorch's, in float64
    one = Normal(mean1.double(), var1.double().sqrt().expand_as(mean1))
    two = Normal(mean2.double(), var2.double().sqrt().expand_as(mean2))
    return kl_divergence(one, two).sum((1, 2, 3))
""",
        """
def kl(mean1, var1, mean2, var2):  # sample by sample, the logarithms apart
    var1, var2 = torch.broadcast_to(var1, mean1.shape), torch.broadcast_to(var2, mean1.shape)
    answer = []
    for m, v, n, w in zip(mean1, var1, mean2, var2):
        answer.append(float(((v + (m - n) ** 2) / w - 1 + w.log() - v.log()).sum()) / 2)
    return torch.tensor(answer)
""",
    ],
}
