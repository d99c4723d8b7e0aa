"""Fashion-MNIST, 28x28: a small U-Net, minutes on a GPU of any age."""

data = "fashion"
network = "fashion"
steps = 20_000
batch = 128
lr = 5e-4
warmup = 500
decay_lr = True
ema = (0.999,)
seed = 0
sample_every = 2000
validate_every = 1000
