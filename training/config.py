"""CIFAR-10, the stretch from 54 to about 78 million images: four H100, batch 2,048, rate to 0.

torchrun --nproc_per_node=4 -m minidiff train training/config.py --out runs/cifar10_80M

It begins with the average of the stretch before (in 8 bits) and with new moments. `--max_seconds`
ended the first command after ten minutes; the second (`--resume --steps N`) was told how many steps
fitted into what was left.
"""

data = "cifar10"
flip = True  # the paper's only augmentation
network = "cifar10"  # 35.7 million parameters with the paper's dropout of 0.1
init = "cifar10_54M.safetensors"  # the average after 53.7 million images
schedule = "linear"
T = 1000
variance = "large"
times = "stratified"  # uniform t, as the paper's, less noise; the bound's weights cost few steps
batch = 2048  # 512 a card: 28,700 images/s on four cards; as in the stretch before
steps = 11_500  # about 23.5 million images; set anew at the resume, so that the rate ends at 0
lr = 5e-4  # 6e-4 before: a little lower at each restart, since what was learned is to be kept
warmup = 500  # Adam's moments begin at 0: its first steps are as large as the rate allows
decay_lr = True  # the last 2,000 steps, below 8 % of the peak, are where quality appears
clip_grad = 1.0  # never reached (norms are below 0.2), a guard only
# At a rate that falls to 0 the weights come to rest by themselves, and an average has only the
# noise of the last steps to remove. What was not seen before the run: with `ema_warmup` (the
# default) the n-th update uses at most (1 + n)/(10 + n), which is 0.9992 at the end: 0.9995 and
# 0.9998 became one and the same average, of about 1,245 steps, and 0.999 one of 1,000. To follow
# longer ones in a stretch that begins with trained weights, set ema_warmup = False.
ema = (0.9995, 0.999, 0.9998)
seed = 8  # other orders and noise than in the stretches before (0, 1, 7)
compile = "default"
log_every = 50
save_every = 1_000_000  # a state is 860 MB: only at the end of each command
save_seconds = 100_000.0
keep = 2
sample_every = 0
validate_every = 0  # the bound of all test images is measured at the end instead
