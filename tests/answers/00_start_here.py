"""Wrong and right answers to the code exercises of chapter 0."""

WRONG = {
    "ex-00-draw": [
        (
            """
def draw(model, n, steps, seed):
    *_, last = md.ddim(model, noise(n, seed), md.tau(1000, S=steps))
    md.data.to_uint8(last.x)
""",
            "Return the pictures",
        ),
        (
            """
def draw(model, n, steps, seed):
    *_, last = md.ddim(model, noise(n, seed), md.tau(1000, S=steps))
    return last.x
""",
            "use md.data.to_uint8",
        ),
        (
            """
def draw(model, n, steps, seed):
    *_, last = md.ddim(model, noise(n, 0), md.tau(1000, S=steps))
    return md.data.to_uint8(last.x)
""",
            "Another seed gave the same",
        ),
        (
            """
def draw(model, n, steps, seed):
    x = torch.randn(n, 1, 8, 8, device=device)
    *_, last = md.ddim(model, x, md.tau(1000, S=steps))
    return md.data.to_uint8(last.x)
""",
            "The same seed gave other",
        ),
        (
            """
def draw(model, n, steps, seed):
    *_, last = md.ddim(model, noise(n, seed), md.tau(1000, S=4))
    return md.data.to_uint8(last.x)
""",
            "number of steps has no effect",
        ),
        (
            """
def draw(model, n, steps, seed):
    first = next(iter(md.ddim(model, noise(n, seed), md.tau(1000, S=steps))))
    return md.data.to_uint8(first.x)
""",
            "last step of the sampler",
        ),
        (
            """
def draw(model, n, steps, seed):
    *_, last = md.ddim(model, noise(n, seed), md.tau(1000, S=steps))
    return (255 * last.x.clamp(0, 1)).to(torch.uint8)
""",
            "spread over 0..255",
        ),
    ],
    "ex-00-calls": [
        (
            """
def count_calls(model, sampler):
    return len(list(sampler))
""",
            "Count calls, not steps",
        ),
        (
            """
def count_calls(model, sampler):
    calls = []
    model.net.register_forward_hook(lambda *_: calls.append(1))
    for _ in sampler:
        pass
    return len(calls)
""",
            "still on the network",
        ),
        (
            """
def count_calls(model, sampler):
    calls = []
    hook = model.net.register_forward_hook(lambda *_: calls.append(1))
    hook.remove()
    return len(calls)
""",
            "Run the sampler to its end",
        ),
        (
            """
def count_calls(model, sampler):
    calls = []
    parts = list(model.net.modules())
    hooks = [part.register_forward_hook(lambda *_: calls.append(1)) for part in parts]
    for _ in sampler:
        pass
    for hook in hooks:
        hook.remove()
    return len(calls)
""",
            "watch model.net alone",
        ),
        (
            """
def count_calls(model, sampler):
    calls = []
    hook = model.net.register_forward_hook(lambda *_: calls.append(1))
    for _ in sampler:
        pass
    hook.remove()
""",
            "return the count",
        ),
    ],
    "ex-00-entropy": [
        (
            """
def entropy_bits(labels, classes=10):
    f = labels.bincount(minlength=classes).double() / len(labels)
    return float(-(f * f.log2()).sum())
""",
            "0 log 0",
        ),
        (
            """
def entropy_bits(labels, classes=10):
    f = labels.bincount(minlength=classes).double() / len(labels)
    return float(-torch.special.xlogy(f, f).sum())
""",
            "nats",
        ),
        (
            """
def entropy_bits(labels, classes=10):
    f = labels.bincount(minlength=classes).double() / len(labels)
    return float(torch.special.xlogy(f, f).sum() / math.log(2))
""",
            "minus sign",
        ),
        (
            """
def entropy_bits(labels, classes=10):
    f = labels.bincount(minlength=classes).double() / len(labels)
    return float(-torch.special.xlogy(f, f).mean() / math.log(2))
""",
            "do not average",
        ),
        (
            """
def entropy_bits(labels, classes=10):
    return math.log2(len(labels.unique()))
""",
            "Shares 3/4 and 1/4: 0.811 bits, you found 1.000",
        ),
        (
            """
def entropy_bits(labels, classes=10):
    f = labels.bincount(minlength=classes).double() / len(labels)
    h = -torch.special.xlogy(f, f).sum() / math.log(2)
""",
            "your function gives None",
        ),
    ],
}

RIGHT = {
    "ex-00-draw": [
        """
def draw(model, n, steps, seed):
    for step in md.ddim(model, noise(n, seed), md.tau(1000, S=steps)):
        x = step.x
    return md.data.to_uint8(x)
""",
        """
def draw(model, n, steps, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=g).to(device)
    x = list(md.ddim(model, x, md.tau(1000, S=steps)))[-1].x.clamp(-1, 1)
    return (127.5 * x + 127.5).round().to(torch.uint8)
""",
    ],
    "ex-00-calls": [
        """
def count_calls(model, sampler):
    count = 0

    def add(module, inputs):
        nonlocal count
        count += 1

    hook = model.net.register_forward_pre_hook(add)
    list(sampler)
    hook.remove()
    return count
""",
        """
def count_calls(model, sampler):
    count, forward = 0, model.net.forward

    def counted(*arguments, **options):
        nonlocal count
        count += 1
        return forward(*arguments, **options)

    model.net.forward = counted
    try:
        for _ in sampler:
            pass
    finally:
        model.net.forward = forward
    return torch.tensor(count)
""",
    ],
    "ex-00-entropy": [
        """
def entropy_bits(labels, classes=10):
    labels = labels.tolist()
    shares = [labels.count(k) / len(labels) for k in range(classes)]
    return -sum(f * math.log2(f) for f in shares if f > 0)
""",
        """
def entropy_bits(labels, classes=10):
    f = torch.nn.functional.one_hot(labels, classes).float().mean(0)
    return -(f * (f + 1e-12).log2()).sum()
""",
        """
def entropy_bits(labels, classes=10):
    count = labels.unique(return_counts=True)[1].float()
    return math.log2(len(labels)) - float((count * count.log2()).sum()) / len(labels)
""",
    ],
}
