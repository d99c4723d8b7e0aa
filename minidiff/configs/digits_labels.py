"""The digits with their labels: one label in ten is left out, so that the network can be guided.

The shipped weights took longer: --steps 6000."""

data = "digits"
network = "digits"
network_options = {"dropout": 0.1, "label_dropout": 0.1}
conditional = True
steps = 1000
batch = 64
lr = 2e-3
warmup = 100
decay_lr = True
ema = (0.995,)
seed = 0
sample_every = 250
validate_every = 250
