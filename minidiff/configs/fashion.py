"""Fashion-MNIST with its ten labels, 28x28: a small U-Net, minutes on a GPU of any age."""

data = "fashion"
network = "fashion"
conditional = True
steps = 12_000
batch = 256
lr = 1e-3
warmup = 500
decay_lr = True
ema = (0.999,)
seed = 0
compile = "auto"
sample_every = 4000
validate_every = 4000
