"""Wrong and right answers to the exercises of chapter 24."""

WRONG = {
    "ex-24-posterior": [
        (
            """
def back(x0, xt, K, ab_s, ab_t):  # the joint probability, not divided
    q = lambda new, old, kept: kept * (new == old) + (1 - kept) / K
    return [q(xt, k, ab_t / ab_s) * q(k, x0, ab_s) for k in range(K)]
""",
            "divide by q(x_t | x_0)",
        ),
        (
            """
def back(x0, xt, K, ab_s, ab_t):  # as if x_t had been noised from s with ab_t
    q = lambda new, old, kept: kept * (new == old) + (1 - kept) / K
    joint = [q(xt, k, ab_t) * q(k, x0, ab_s) for k in range(K)]
    return [p / sum(joint) for p in joint]
""",
            "from x_s to x_t with ab_t/ab_s",
        ),
        (
            """
def back(x0, xt, K, ab_s, ab_t):  # only x_0 and x_t are thought possible
    p = [0.0] * K
    p[x0] += 1 - (1 - ab_s) / (1 - ab_t)
    p[xt] += (1 - ab_s) / (1 - ab_t)
    return p
""",
            "neither x_0 nor x_t",
        ),
        (
            """
def back(x0, xt, K, ab_s, ab_t):  # q(x_s | x_0): x_t is not looked at
    return [ab_s * (k == x0) + (1 - ab_s) / K for k in range(K)]
""",
            "Not Bayes' rule",
        ),
    ],
    "ex-24-order": [
        (
            """
def in_order(net, x0, order, mask):  # shown first, paid for then
    x, total = torch.full_like(x0, mask), 0.0
    for i in order:
        x[0, i] = x0[0, i]
        total -= float(net(x).log_softmax(-1)[0, i, x0[0, i]])
    return total
""",
            "Begin with a word that is all masks",
        ),
        (
            """
def in_order(net, x0, order, mask):  # never shows anything
    x, total = torch.full_like(x0, mask), 0.0
    for i in order:
        total -= float(net(x).log_softmax(-1)[0, i, x0[0, i]])
    return total
""",
            "when place 2 is seen",
        ),
        (
            """
def in_order(net, x0, order, mask):  # bits
    x, total = torch.full_like(x0, mask), 0.0
    for i in order:
        total -= float(net(x).log_softmax(-1)[0, i, x0[0, i]]) / math.log(2)
        x[0, i] = x0[0, i]
    return total
""",
            "in nats",
        ),
        (
            """
def in_order(net, x0, order, mask):  # always from left to right
    x, total = torch.full_like(x0, mask), 0.0
    for i in range(len(order)):
        total -= float(net(x).log_softmax(-1)[0, i, x0[0, i]])
        x[0, i] = x0[0, i]
    return total
""",
            "when place 2 is seen",
        ),
    ],
    "ex-24-surest": [
        (
            """
def surest(net, x, mask):  # all at once
    return torch.where(x == mask, net(x).argmax(-1), x)
""",
            "Three masks are three calls",
        ),
        (
            """
def surest(net, x, mask):  # by the largest logit, which is no probability
    x = x.clone()
    while (x == mask).any():
        best, letter = net(x).max(-1)
        i = int(torch.where(x == mask, best, -torch.inf)[0].argmax())
        x[0, i] = letter[0, i]
    return x
""",
            "by its probability",
        ),
        (
            """
def surest(net, x, mask):  # from left to right
    x = x.clone()
    for i in range(x.shape[1]):
        if x[0, i] == mask:
            x[0, i] = net(x)[0, i].argmax()
    return x
""",
            "only the surest place, by its probability",
        ),
        (
            """
def surest(net, x, mask):  # one letter, and no more
    x = x.clone()
    best, letter = net(x).softmax(-1).max(-1)
    i = int(torch.where(x == mask, best, -1.0)[0].argmax())
    x[0, i] = letter[0, i]
    return x
""",
            "A mask is left",
        ),
        (
            """
def surest(net, x, mask):  # looks at every place, also those that were given
    x = x.clone()
    for _ in range(int((x == mask).sum())):
        best, letter = net(x).softmax(-1).max(-1)
        best[0, [j for j in range(x.shape[1]) if x[0, j] == letter[0, j]]] = -1
        i = int(best[0].argmax())
        x[0, i] = letter[0, i]
    return x
""",
            "A letter that was given must stay",
        ),
    ],
}

RIGHT = {
    "ex-24-posterior": [
        """
def back(x0, xt, K, ab_s, ab_t):
    kept = ab_t / ab_s
    k = torch.arange(K)
    up = kept * (k == xt) + (1 - kept) / K
    down = ab_s * (k == x0) + (1 - ab_s) / K
    return up * down / (ab_t * (x0 == xt) + (1 - ab_t) / K)
""",
        """
def back(x0, xt, K, ab_s, ab_t):
    process = torch.eye(K)
    matrix = lambda kept: kept * process + (1 - kept) / K
    joint = matrix(ab_s)[x0] * matrix(ab_t / ab_s)[:, xt]
    return (joint / joint.sum()).tolist()
""",
    ],
    "ex-24-order": [
        """
def in_order(net, x0, order, mask):
    total = 0.0
    for place, i in enumerate(order):
        x = torch.full_like(x0, mask)
        for j in order[:place]:
            x[0, j] = x0[0, j]
        p = net(x)[0, i].double().softmax(-1)
        total = total - p[x0[0, i]].log()
    return total
""",
        """
def in_order(net, x0, order, mask):
    x, p = torch.full_like(x0, mask), 1.0
    for i in order:
        p *= float(net(x).softmax(-1)[0, i, x0[0, i]])
        x[0, i] = x0[0, i]
    return -math.log(p)
""",
    ],
    "ex-24-surest": [
        """
def surest(net, x, mask):
    word = x[0].tolist()
    while mask in word:
        p = net(torch.tensor([word])).softmax(-1)[0]
        hidden = [i for i, c in enumerate(word) if c == mask]
        i = max(hidden, key=lambda i: float(p[i].max()))
        word[i] = int(p[i].argmax())
    return torch.tensor([word])
""",
        """
def surest(net, x, mask):
    x = x.clone()
    for _ in range(int((x == mask).sum())):
        p = net(x).softmax(-1) * (x == mask)[..., None]
        i, letter = divmod(int(p.flatten().argmax()), p.shape[-1])
        x[0, i] = letter
    return x
""",
    ],
}
