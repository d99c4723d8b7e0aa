"""Creatures, 32x32, with seven labels each: a U-Net of 3 million parameters, minutes on a GPU.

Three labels in ten are left out, an image's all, some or none of them: one network draws what is
asked for and decides the rest, and can be guided.
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
}
conditional = True
schedule = "cosine"
steps = 20_000
batch = 256
lr = 1e-3
warmup = 500
decay_lr = True
ema = (0.999,)
seed = 0
compile = "default"
sample_every = 5000
validate_every = 5000
