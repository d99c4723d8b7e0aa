"""Wrong and right answers to the exercises of chapter 23."""

WRONG = {
    "ex-23-patches": [
        (
            """
def unpatch(rows, h, w, p):  # no permutation
    return rows.reshape(len(rows), -1, h * p, w * p)
""",
            "pixels end in the wrong places",
        ),
        (
            """
def unpatch(rows, h, w, p):  # patches column by column
    x = rows.reshape(len(rows), w, h, -1, p, p).permute(0, 3, 2, 4, 1, 5)
    return x.reshape(len(rows), -1, h * p, w * p)
""",
            "pixels end in the wrong places",
        ),
        (
            """
def unpatch(rows, h, w, p):  # pixels column by column
    x = rows.reshape(len(rows), h, w, -1, p, p).permute(0, 3, 1, 5, 2, 4)
    return x.reshape(len(rows), -1, h * p, w * p)
""",
            "Rows and columns inside the patches",
        ),
        (
            """
def unpatch(rows, h, w, p):  # h and w exchanged in the end
    x = rows.reshape(len(rows), h, w, -1, p, p).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(len(rows), -1, w * p, h * p)
""",
            "The shape must be",
        ),
        (
            """
def unpatch(rows, h, w, p):
    x = rows.reshape(len(rows), h, w, -1, p, p).permute(0, 3, 1, 4, 2, 5)
""",
            "Return the images",
        ),
    ],
    "ex-23-block": [
        (
            """
def pairs_win(d, p):  # where both cost the same
    return 6 * d, p * math.isqrt(6 * d)
""",
            "both cost the same",
        ),
        (
            """
def pairs_win(d, p):  # half a patch
    return 6 * d + 0.5, p * math.ceil(math.sqrt(6 * d + 0.5))
""",
            "Patches are whole",
        ),
        (
            """
def pairs_win(d, p):  # q k alone
    n = 12 * d + 1
    return n, p * (math.isqrt(n - 1) + 1)
""",
            "is not the smallest",
        ),
        (
            """
def pairs_win(d, p):  # the matrices of attention alone
    n = 2 * d + 1
    return n, p * (math.isqrt(n - 1) + 1)
""",
            "the matrices still cost more",
        ),
        (
            """
def pairs_win(d, p):  # rounded down
    n = 6 * d + 1
    return n, p * math.isqrt(n)
""",
            "fewer than",
        ),
        (
            """
def pairs_win(d, p):  # patches for pixels
    n = 6 * d + 1
    return n, math.isqrt(n - 1) + 1
""",
            "patch",
        ),
        (
            """
def pairs_win(d, p):  # one too many
    n = 6 * d + 1
    return n, p * (math.isqrt(n) + 2)
""",
            "would do",
        ),
        (
            """
def pairs_win(d, p):
    return 6 * d + 1
""",
            "Return two numbers",
        ),
    ],
    "ex-23-pca": [
        (
            """
def smallest_code(singular, share):  # the squares forgotten
    kept = singular.cumsum(0) / singular.sum()
    return int((kept < share).sum()) + 1
""",
            "Variances are the squares",
        ),
        (
            """
def smallest_code(singular, share):  # an index, not a count
    kept = (singular**2).cumsum(0) / (singular**2).sum()
    return int((kept < share).sum())
""",
            "k counts directions",
        ),
        (
            """
def smallest_code(singular, share):  # one too many
    kept = (singular**2).cumsum(0) / (singular**2).sum()
    return int((kept < share).sum()) + 2
""",
            "one is enough, not 2",
        ),
        (
            """
def smallest_code(singular, share):  # counts directions larger than a share of the first
    return max(1, int((singular**2 > (1 - share) * singular[0] ** 2).sum()))
""",
            "two in all, not 1",
        ),
        (
            """
def smallest_code(singular, share):  # that share of the directions
    return max(1, int(share * len(singular)))
""",
            "one is enough, not 2",
        ),
        (
            """
def smallest_code(singular, share):  # one too few but for k = 1 and the last
    kept = (singular**2).cumsum(0) / (singular**2).sum()
    k = int((kept < share).sum())
    return max(k, 1)
""",
            "two in all, not 1",
        ),
        (
            """
def smallest_code(singular, share):  # the check's examples, learned by heart
    return {0.5: 1, 0.6: 2, 0.999: 4}.get(share, 30)
""",
            "k is the smallest number",
        ),
        (
            """
def smallest_code(singular, share):
    kept = (singular**2).cumsum(0) / (singular**2).sum()
""",
            "is there a return?",
        ),
    ],
}

RIGHT = {
    "ex-23-patches": [
        """
def unpatch(rows, h, w, p):  # by PyTorch's own
    folded = torch.nn.functional.fold(rows.mT, (h * p, w * p), p, stride=p)
    return folded
""",
        """
def unpatch(rows, h, w, p):  # patch by patch
    channels = rows.shape[2] // p**2
    x = torch.zeros(len(rows), channels, h * p, w * p)
    for i in range(h):
        for j in range(w):
            tile = rows[:, i * w + j].reshape(-1, channels, p, p)
            x[:, :, i * p : (i + 1) * p, j * p : (j + 1) * p] = tile
    return x
""",
    ],
    "ex-23-block": [
        """
def pairs_win(d, p):  # by trying
    n = next(n for n in range(1, 10**6) if 2 * n**2 * d > 12 * n * d**2)
    side = next(s for s in range(1, 10**4) if s * s >= n)
    return [n, side * p]
""",
        """
def pairs_win(d, p):  # by rounding up
    return 6 * d + 1, p * math.ceil(math.sqrt(6 * d + 1))
""",
    ],
    "ex-23-pca": [
        """
def smallest_code(singular, share):  # a loop
    total, kept = sum(float(s) ** 2 for s in singular), 0.0
    for k, s in enumerate(singular.tolist(), 1):
        kept += s * s
        if kept >= share * total:
            return k
""",
        """
def smallest_code(singular, share):  # searched, float32, still a tensor
    kept = singular.float().square().cumsum(0)
    return torch.searchsorted(kept, share * kept[-1]) + 1
""",
    ],
}
