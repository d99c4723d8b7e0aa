"""Wrong and right answers to the code exercises of chapter 6."""

WRONG = {
    "ex-06-attend": [
        (
            """
def attend(q, k, v):
    return (q @ k.transpose(1, 2)).softmax(-1) @ v
""",
            "divided by sqrt(C)",
        ),
        (
            """
def attend(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1]).softmax(-1) @ v
""",
            "divided by sqrt(C)",
        ),
        (
            """
def attend(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[1] ** 0.5).softmax(-1) @ v
""",
            "divided by sqrt(C)",
        ),
        (
            """
def attend(q, k, v):
    return (q @ k.transpose(1, 2) / 8).softmax(-1) @ v
""",
            "not equal for C = 9",
        ),
        (
            """
def attend(q, k, v):
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(1) @ v
""",
            "the softmax runs over the keys",
        ),
        (
            """
def attend(q, k, v):
    return (k @ q.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
""",
            "changed places",
        ),
        (
            """
def attend(q, k, v):
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return scores.softmax(-1)
""",
            "yours is (2, 5, 5)",
        ),
        (
            """
def attend(q, k, v):
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 @ v
""",
            "the softmax runs over the keys",
        ),
    ],
    "ex-06-count": [
        (
            """
def scale_shift_count(c, out, emb):
    return res_count(c, out, emb)
""",
            "2 * out outputs",
        ),
        (
            """
def scale_shift_count(c, out, emb):
    return res_count(c, out, emb) + emb * out
""",
            "each with a bias",
        ),
        (
            """
def scale_shift_count(c, out, emb):
    return res_count(c, out, emb) + conv_count(1, emb, 2 * out)
""",
            "2 * out outputs",
        ),
        (
            """
def scale_shift_count(c, out, emb):
    return res_count(c, out, 2 * emb)
""",
            "2 * out outputs, each with a bias",
        ),
        (
            """
def scale_shift_count(c, out, emb):
    return res_count(c, out, emb) + conv_count(1, emb, out) + 2 * out
""",
            "nothing else changes",
        ),
        (
            """
def scale_shift_count(c, out, emb):
    return res_count(c, out, 128) + conv_count(1, 128, out)
""",
            "64 time features",
        ),
    ],
    "ex-06-field": [
        (
            """
def receptive_field(layers):
    r, jump = 1, 1
    for kernel, stride in layers:
        r, jump = r + kernel * jump, jump * stride
    return r
""",
            "A kernel adds its size less 1",
        ),
        (
            """
def receptive_field(layers):
    return 1 + sum(kernel - 1 for kernel, stride in layers)
""",
            "A stride acts on the layers after it",
        ),
        (
            """
def receptive_field(layers):
    r, jump = 1, 1
    for kernel, stride in layers:
        jump = jump * stride
        r = r + (kernel - 1) * jump
    return r
""",
            "not on its own",
        ),
        (
            """
def receptive_field(layers):
    r, jump = 1, 1
    for kernel, stride in layers:
        r, jump = r + (kernel - 1) * jump, stride
    return r
""",
            "The strides of all layers before multiply",
        ),
        (
            """
def receptive_field(layers):
    r = 0
    for kernel, stride in layers:
        r = r + kernel
    return r
""",
            "[(3, 1), (3, 1)] sees 5 pixels, you say 6",
        ),
        (
            """
def receptive_field(layers):
    r, jump = 1, 1
    for kernel, stride in layers:
        r, jump = r + (kernel - 1) * jump, jump * stride
""",
            "you say None",
        ),
    ],
}

RIGHT = {
    "ex-06-attend": [
        """
def attend(q, k, v):
    weight = torch.exp(torch.einsum("bqc,bkc->bqk", q, k) / math.sqrt(q.shape[2]))
    return torch.einsum("bqk,bkc->bqc", weight / weight.sum(2, keepdim=True), v)
""",
        """
def attend(q, k, v):
    q, k, v = q.double() * q.shape[-1] ** -0.5, k.double(), v.double()
    out = torch.empty_like(v)
    for b in range(len(q)):
        for n in range(q.shape[1]):
            weight = torch.softmax(k[b] @ q[b, n], 0)
            out[b, n] = weight @ v[b]
    return out
""",
    ],
    "ex-06-count": [
        """
def scale_shift_count(c, out, emb):
    count = 2 * c + 9 * c * out + out  # first norm, first convolution
    count += (emb + 1) * 2 * out  # the linear map of the time
    count += 2 * out + 9 * out * out + out
    return count + (c * out + out if c != out else 0)
""",
        """
def scale_shift_count(c, out, emb):
    block = blocks.ResBlock(c, out, emb, 8, 1e-6, 0.0, scale_shift=True)
    return float(parameters(block))
""",
    ],
    "ex-06-field": [
        """
def receptive_field(layers):
    r = 1
    for kernel, stride in reversed(layers):
        r = (r - 1) * stride + kernel
    return r
""",
        """
def receptive_field(layers):
    return 1.0 + sum(
        (kernel - 1) * math.prod(stride for _, stride in layers[:i])
        for i, (kernel, _) in enumerate(layers)
    )
""",
    ],
}
