"""CIFAR-10 in four minutes on one large GPU, compiling included (chapter 17).

python -m minidiff train cifar10_minutes --out runs/minutes

This is "ours" in benchmarks/equal_time.py, where the clock ends a run and lets the rate fall. Its
initial weights and Adam's betas were chosen there, against those of Ho et al.; for a long training
they were not tried. The weights that come with the book were made by cifar10_h200.
"""

data = "cifar10"
flip = True
network = "cifar10"
network_options = {"dropout": 0.0, "start": "torch"}
schedule = "linear"
T = 1000
variance = "large"
times = "stratified"
steps = 2000
batch = 512
lr = 6e-4
warmup = 300
decay_lr = True
betas = (0.95, 0.999)
clip_grad = 1.0
ema = (0.999,)
seed = 0
compile = "auto"
log_every = 50
save_every = 100_000
sample_every = 0
validate_every = 0
