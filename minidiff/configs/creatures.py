"""Creatures, 32x32, with seven labels each: 3.7 million parameters, minutes of a large GPU.

python -m minidiff train creatures --out runs/creatures

Three labels in ten are left out, an image's all, some or none of them: one network draws what is
asked for and decides the rest, and can be guided. The learning rate falls to 0 at the last step:
give --steps what the time at hand allows. --max_seconds ends a run that takes longer, at the rate
that it has reached by then; the average of the weights smooths what a higher rate leaves. The
weights that come with the book took all of these steps.
"""

data = "creatures"
network = "fashion"
network_options = {
    "width": 48,
    "mults": (1, 2, 2),
    "attention": (8,),
    "head_dim": 48,
    "dropout": 0.0,
    "label_dropout": 0.3,
    "start": "torch",
}
conditional = True
schedule = "cosine"
predict = "v"
steps = 14_000
batch = 512
lr = 1e-3
warmup = 300
decay_lr = True
betas = (0.95, 0.999)
ema = (0.999,)
seed = 0
compile = "auto"
log_every = 50
save_every = 100_000
sample_every = 0
validate_every = 0
