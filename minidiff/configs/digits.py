"""Handwritten digits, 8x8: 1,500 of them, on a laptop's processor, in less than a minute.

The shipped weights took longer: --steps 6000 --batch 64 --schedule linear
--network_options "{'dropout': 0.1}"."""

data = "digits"
network = "digits"
network_options = {"dropout": 0.0, "start": "torch"}
schedule = "cosine"
steps = 1000
batch = 32
lr = 2e-3
warmup = 100
decay_lr = True
ema = (0.995,)
seed = 0
sample_every = 250
validate_every = 250
