"""Handwritten digits, 8x8: 1,500 of them, on a laptop's processor."""

data = "digits"
network = "digits"
network_options = {"dropout": 0.0}
steps = 3000
batch = 64
lr = 2e-3
warmup = 100
decay_lr = True
ema = (0.995,)
seed = 0
sample_every = 500
validate_every = 500
