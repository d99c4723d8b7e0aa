"""Train the small classifier whose features measure samples of a grey data set.

    python tools/train_classifier.py digits      # seconds on one CPU core
    python tools/train_classifier.py fashion     # minutes

Writes minidiff/weights/classifier_NAME.safetensors (float16) and prints the accuracy of that.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from minidiff.data.sets import Images, from_uint8, load
from minidiff.measure.features import Classifier

WEIGHTS = Path(__file__).resolve().parent.parent / "minidiff" / "weights"
EPOCHS = {"digits": 150, "mnist": 2, "fashion": 8}


def shifted(x0: Tensor, generator: torch.Generator) -> Tensor:
    """Each batch moved by up to one pixel, so that the features don't hang on exact places."""
    dy, dx = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return torch.roll(F.pad(x0, (1,) * 4, value=-1.0), (dy, dx), (2, 3))[..., 1:-1, 1:-1]


def accuracy(net: Classifier, data: Images) -> float:
    with torch.inference_mode():
        right = [
            (net(x)[1].argmax(1) == y).sum()
            for x, y in zip(data.images.split(1000), data.labels.split(1000), strict=True)
        ]
    return sum(int(r) for r in right) / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(EPOCHS))
    name = parser.parse_args().name
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    data, batch = load(name), 128
    net = Classifier(name, data.shape[-1])
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = EPOCHS[name] * (len(data) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    order = torch.empty(0, dtype=torch.long)
    for _ in tqdm(range(steps), desc=name):
        if len(order) < batch:
            order = torch.randperm(len(data), generator=generator)
        index, order = order[:batch], order[batch:]
        x0 = shifted(from_uint8(data.images[index]), generator)
        logits = net.head(net.body(x0))
        optimizer.zero_grad()
        F.cross_entropy(logits, data.labels[index], label_smoothing=0.05).backward()
        optimizer.step()
        schedule.step()
    path = WEIGHTS / f"classifier_{name}.safetensors"
    save_file({k: v.half().contiguous() for k, v in net.state_dict().items()}, path)
    kept = Classifier.load(name)
    print(
        f"{path.name}: {path.stat().st_size:,} bytes; accuracy {accuracy(kept, data):.4f} on the "
        f"training set, {accuracy(kept, load(name, 'test')):.4f} on the test set"
    )


if __name__ == "__main__":
    main()
