"""Creatures, 16x16, on a laptop: from nothing to creatures that can be named, in minutes."""

data = "creatures"
size = 16
network = "fashion"
network_options = {
    "width": 32,
    "mults": (1, 2, 2),
    "blocks": 1,
    "attention": (4,),
    "dropout": 0.0,
    "label_dropout": 0.3,
}
conditional = True
schedule = "cosine"
predict = "v"
steps = 2000
batch = 64
lr = 2e-3
warmup = 100
decay_lr = True
ema = (0.995,)
seed = 0
sample_every = 500
validate_every = 500
