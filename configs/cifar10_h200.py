"""CIFAR-10 in minutes on two large GPUs: the network of Ho et al. 2020, larger batches.

torchrun --nproc_per_node=2 -m minidiff train configs/cifar10_h200.py --out runs/cifar10

Without dropout: after some hundred epochs the bound is the same for training and test images
(results/cifar10_nll.json), so there is nothing yet that it would prevent. The learning rate falls
to 0 at the last step: give --steps what the time at hand allows. The shipped weights took two runs,
the first of them with dropout: `python -m minidiff info cifar10` prints the commands.
"""

data = "cifar10"
flip = True
network = "cifar10"
network_options = {"dropout": 0.0}
schedule = "linear"
T = 1000
variance = "large"
times = "stratified"
steps = 11_500
batch = 768
lr = 8e-4
warmup = 400
decay_lr = True
clip_grad = 1.0
ema = (0.999, 0.9995)
seed = 0
compile = "default"
log_every = 50
save_every = 100_000
sample_every = 3000
validate_every = 1500
