"""CIFAR-10 in minutes on two large GPUs: the network of Ho et al. 2020, larger batches.

torchrun --nproc_per_node=2 -m minidiff train cifar10_h200 --out runs/cifar10

Without dropout: after all runs together the bounds of training and of test images are about two
hundredths of a bit apart, twice the standard error (chapter 7): little for dropout to prevent so
far. The learning rate falls to 0 at the last step: give --steps what the time at hand allows. The
shipped weights took four runs, the first of them with dropout, the last with --times bound on four
GPUs, each from the average of the one before (--init): `python -m minidiff info cifar10` prints the
commands.
"""

data = "cifar10"
flip = True
network = "cifar10"
network_options = {"dropout": 0.0}
schedule = "linear"
T = 1000
variance = "large"
times = "stratified"
steps = 8600
batch = 1024
lr = 6e-4
warmup = 300
decay_lr = True
clip_grad = 1.0
ema = (0.999, 0.9995)
seed = 0
compile = "auto"
log_every = 50
save_every = 100_000
sample_every = 3000
validate_every = 1500
