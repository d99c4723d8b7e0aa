"""CIFAR-10 for a short run on one large GPU: the network of Ho et al. 2020, larger batches.

Give the time with --max_seconds, and steps near what that time allows, so that lr falls to 0.
"""

data = "cifar10"
flip = True
network = "cifar10"
schedule = "linear"
T = 1000
variance = "large"
times = "stratified"
steps = 8000
batch = 512
lr = 6e-4
warmup = 300
decay_lr = True
clip_grad = 1.0
ema = (0.999, 0.9995)
seed = 0
compile = "default"
log_every = 50
save_every = 2000
sample_every = 1000
validate_every = 1000
