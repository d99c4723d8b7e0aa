"""CIFAR-10 as in Ho et al. 2020, appendix B: 800,000 steps, the recipe behind its FID of 3.17."""

data = "cifar10"
flip = True
network = "cifar10"  # 35.7 million parameters, dropout 0.1
schedule = "linear"
T = 1000
variance = "large"
times = "uniform"
steps = 800_000
batch = 128
lr = 2e-4
warmup = 5000
clip_grad = 1.0
ema = (0.9999,)
ema_warmup = False
seed = 0
compile = "auto"
log_every = 100
save_every = 20_000
sample_every = 5000
validate_every = 5000
