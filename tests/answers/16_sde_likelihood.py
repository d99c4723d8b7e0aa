"""Wrong and right answers to the exercises of the chapter on SDE and likelihood."""

WRONG = {
    "ex-16-reverse": [
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # forwards
    drift = -beta / 2 * (x + (1 + lam**2) * s)
    return x + drift * h + lam * (beta * h) ** 0.5 * z
""",
            "x is pushed out",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # no extra drift
    return x + beta / 2 * (x + s) * h + lam * (beta * h) ** 0.5 * z
""",
            "needs an extra drift",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # lam, not its square
    return x + beta / 2 * (x + (1 + lam) * s) * h + lam * (beta * h) ** 0.5 * z
""",
            "at lam = 1/2 that is 5/4",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # Anderson's drift, whatever lam
    return x + beta / 2 * (x + 2 * s) * h + lam * (beta * h) ** 0.5 * z
""",
            "Without noise (lam = 0)",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # noise without the root
    return x + beta / 2 * (x + (1 + lam**2) * s) * h + lam * beta * h * z
""",
            "lam sqrt(beta h) z",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # noise times the step
    return x + (beta / 2 * (x + (1 + lam**2) * s) + lam * beta**0.5 * z) * h
""",
            "lam sqrt(beta h) z",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):
    x = x + beta / 2 * (x + (1 + lam**2) * s) * h
""",
            "Return the new x",
        ),
        (
            """
def reverse_step(x, s, beta, h, lam, z):  # the numbers of the first example
    return x + 0.02 * (x + (1 + lam**2) * s) + 0.2 * lam * z
""",
            "Not so at beta = 1.0, h = 0.09",
        ),
    ],
    "ex-16-hutchinson": [
        (
            """
def hutchinson(vjp, dims, probes, generator):  # the exact trace, unit vector by unit vector
    return float(sum(vjp(e) @ e for e in torch.eye(dims, dtype=torch.float64)))
""",
            "4000 probes were asked for, you made 20 calls",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # Gaussian probes
    total = 0.0
    for _ in range(probes):
        v = torch.randn(dims, generator=generator, dtype=torch.float64)
        total += float(vjp(v) @ v)
    return total / probes
""",
            "entries +1 and -1",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # 0 and 1
    total = 0.0
    for _ in range(probes):
        v = torch.randint(0, 2, (dims,), generator=generator).double()
        total += float(vjp(v) @ v)
    return total / probes
""",
            "entries +1 and -1",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # -1, 0 and 1
    total = 0.0
    for _ in range(probes):
        v = torch.randint(-1, 2, (dims,), generator=generator).double()
        total += float(vjp(v) @ v)
    return total / probes
""",
            "entries +1 and -1",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # one probe for all
    v = torch.randint(0, 2, (dims,), generator=generator).double() * 2 - 1
    return sum(float(vjp(v) @ v) for _ in range(probes)) / probes
""",
            "a new v for each probe",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # the sum
    total = 0.0
    for _ in range(probes):
        v = torch.randint(0, 2, (dims,), generator=generator).double() * 2 - 1
        total += float(vjp(v) @ v)
    return total
""",
            "it is the mean of v^T J v",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # without the generator
    total = 0.0
    for _ in range(probes):
        v = torch.randint(0, 2, (dims,)).double() * 2 - 1
        total += float(vjp(v) @ v)
    return total / probes
""",
            "draw the probes from the generator",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # divided by the dimensions, too
    total = 0.0
    for _ in range(probes):
        v = torch.randint(0, 2, (dims,), generator=generator).double() * 2 - 1
        total += float((vjp(v) * v).mean())
    return total / probes
""",
            "standard errors",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):  # the sizes of the first example
    v = torch.randint(0, 2, (4000, 20), generator=generator).double() * 2 - 1
    return sum(float(vjp(row) @ row) for row in v) / 4000
""",
            "J = I in 7 dimensions",
        ),
        (
            """
def hutchinson(vjp, dims, probes, generator):
    v = torch.randint(0, 2, (dims,), generator=generator).double() * 2 - 1
""",
            "is there a return?",
        ),
    ],
    "ex-16-bits": [
        (
            """
def bits_per_dim(log_p, dims):  # the constant of images in [-1, 1]
    return 7 - log_p / (dims * math.log(2))
""",
            "costs 8 bits a value, not 7",
        ),
        (
            """
def bits_per_dim(log_p, dims):  # nats
    return 8 - log_p / dims
""",
            "Nats to bits",
        ),
        (
            """
def bits_per_dim(log_p, dims):  # the sign
    return 8 + log_p / (dims * math.log(2))
""",
            "mind the sign",
        ),
        (
            """
def bits_per_dim(log_p, dims):  # not per value
    return 8 - log_p / math.log(2)
""",
            "divide by dims",
        ),
        (
            """
def bits_per_dim(log_p, dims):  # the check's first example
    return 8 - log_p / (100 * math.log(2))
""",
            "(3072 values)",
        ),
        (
            """
def bits_per_dim(log_p, dims):  # the constant in nats
    return (math.log(256) - log_p / dims) / math.log(2) ** 2
""",
            "costs 8 bits a value",
        ),
        (
            """
def bits_per_dim(log_p, dims):  # the sign hidden
    return 8 - abs(log_p) / (dims * math.log(2))
""",
            "Half the density costs a bit more",
        ),
        (
            """
def bits_per_dim(log_p, dims):
    bits = 8 - log_p / (dims * math.log(2))
""",
            "is there a return?",
        ),
    ],
}

RIGHT = {
    "ex-16-reverse": [
        """
def reverse_step(x, s, beta, h, lam, z):  # the flow, then the noise and its drift, float32
    x, s = x.float(), s.float()
    flow = beta * h / 2 * (x + s)
    return x + flow + lam**2 * beta * h / 2 * s + lam * math.sqrt(beta * h) * z
""",
        """
def reverse_step(x, s, beta, h, lam, z):  # by the variance of the fresh noise
    size = lam * math.sqrt(beta * h)
    return (1 + beta * h / 2) * x + (beta * h + size**2) / 2 * s + size * z
""",
    ],
    "ex-16-hutchinson": [
        """
def hutchinson(vjp, dims, probes, generator):  # signs of normal numbers, a tensor for the mean
    v = torch.randn(probes, dims, generator=generator, dtype=torch.float64).sign()
    return torch.stack([vjp(row) @ row for row in v]).mean()
""",
        """
def hutchinson(vjp, dims, probes, generator):  # a running mean, uniform numbers for the signs
    mean = 0.0
    for n in range(1, probes + 1):
        up = torch.rand(dims, generator=generator, dtype=torch.float64) < 0.5
        v = torch.where(up, 1.0, -1.0).double()
        mean += (float((v * vjp(v)).sum()) - mean) / n
    return mean
""",
    ],
    "ex-16-bits": [
        """
def bits_per_dim(log_p, dims):  # bits of the whole image first
    return (dims * 8 - log_p / BIT) / dims
""",
        """
def bits_per_dim(log_p, dims):  # a float32 tensor
    return -(torch.tensor(log_p) / dims - math.log(256)) / math.log(2)
""",
    ],
}
