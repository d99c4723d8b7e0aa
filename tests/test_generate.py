"""Many samples: image i is the same however many are drawn, in which batches, by whom."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from truth import IMAGES, noise, smooth

from minidiff.denoiser import Denoiser
from minidiff.engine.checkpoint import load_pretrained
from minidiff.engine.distributed import World
from minidiff.engine.generate import SAMPLERS, Sampling, draw, generate
from minidiff.likelihood import dequantize
from minidiff.process import PerSample, randn
from minidiff.samplers import ancestral
from minidiff.schedule import Schedule

ONE = World(0, 1, torch.device("cpu"))
WAYS = [{"sampler": s} for s in SAMPLERS] + [{"eta": 0.5}, {"eta": 1.0}]


class Share(World):
    """One of several processes, alone: it hands back its own part of each round."""

    def gather(self, x: Tensor) -> Tensor:
        parts = torch.full((self.size, *x.shape), torch.nan)
        parts[self.rank] = x
        return parts.flatten(0, 1)

    def largest(self, number: int) -> int:
        return number


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_image_i_depends_on_seed_and_i_alone(way: dict[str, object]) -> None:
    model, how = load_pretrained("digits"), Sampling(steps=4, **way)
    seven = generate(model, (1, 8, 8), 7, how, ONE)
    for n, batch in ((3, 256), (4, 256), (7, 1), (7, 3), (9, 4)):
        some = generate(model, (1, 8, 8), n, how, ONE, batch)
        assert some.shape == (n, 1, 8, 8)
        torch.testing.assert_close(some[:7], seven[:n], rtol=0, atol=1e-4)
    assert not torch.equal(generate(model, (1, 8, 8), 7, Sampling(steps=4, seed=1), ONE), seven)
    assert (seven[0] - seven[1]).abs().max() > 0.1


@pytest.mark.parametrize(("n", "size", "batch"), [(7, 2, 2), (7, 3, 256), (1, 2, 4), (8, 2, 2)])
def test_the_shares_of_several_processes_are_the_images_of_one(
    n: int, size: int, batch: int
) -> None:
    model, how = load_pretrained("digits"), Sampling(steps=3, eta=1.0)
    alone = generate(model, (1, 8, 8), n, how, ONE)
    together = torch.full_like(alone, torch.nan)
    for rank in range(size):
        mine = generate(model, (1, 8, 8), n, how, Share(rank, size, ONE.device), batch)
        assert not together[~mine.isnan()].isfinite().any()  # nobody draws what another one does
        together = torch.where(mine.isnan(), together, mine)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_labels_go_with_the_image_and_not_with_the_batch() -> None:
    seen: list[Tensor] = []

    class Net(torch.nn.Module):
        class config:
            num_classes = 10

        def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            seen.append(labels)
            return torch.zeros_like(x)

    model, how = Denoiser(Net(), Schedule.linear(100)), Sampling(steps=1, labels=(3, 1, 4))
    for batch in (2, 7):
        seen.clear()
        generate(model, (1, 2, 2), 7, how, ONE, batch)
        assert torch.cat(seen).tolist() == [3, 1, 4, 3, 1, 4, 3]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 5])
def test_the_number_of_network_calls_is_known_before(sampler: str, steps: int) -> None:
    calls = 0

    def net(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return smooth(x, t)

    model, how = Denoiser(net, Schedule.linear(100)), Sampling(steps=steps, sampler=sampler)
    generate(model, (1, 4, 4), 2, how, ONE)
    assert calls == how.calls(model)


def test_batches_come_as_they_are_ready() -> None:
    model = Denoiser(smooth, Schedule.linear(100))
    sizes = [len(x) for x in draw(model, (1, 4, 4), 7, Sampling(steps=2), ONE, batch=3)]
    assert sizes == [3, 3, 1]


MEMORY = """
import re, torch
from minidiff import Denoiser, Schedule
from minidiff.engine.distributed import World
from minidiff.engine.generate import Sampling, generate

def peak():
    return 1024 * int(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])

def draw(n):
    return generate(model, (3, 32, 32), n, Sampling(steps=2), one, batch=100)

model, one = Denoiser(lambda x, t: x, Schedule.linear(100)), World(0, 1, torch.device("cpu"))
draw(100)
before = peak()
images = draw(20_000)
print((peak() - before) / images.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory otherwise")
def test_the_result_lies_in_memory_once() -> None:
    """Joined from its batches it took 2.8 times its size."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.2


# -- the noise of each sample by itself --------------------------------------------------------


def test_noise_of_a_sample_does_not_depend_on_the_others() -> None:
    whole = PerSample(5, range(8))
    first, second = randn(noise(8, 3, 5), whole), randn(noise(8, 3, 5), whole)
    some = PerSample(5, [6, 1])
    assert torch.equal(randn(noise(2, 3, 5), some), first[[6, 1]])
    assert torch.equal(randn(noise(2, 3, 5), some), second[[6, 1]])
    assert not torch.equal(first, second)
    assert abs(float(first.mean())) < 4 / first.numel() ** 0.5
    images = torch.zeros(8, 3, dtype=torch.uint8)
    u = dequantize(images, PerSample(0, range(8)))
    assert torch.equal(dequantize(images[:1], PerSample(0, [7])), u[7:])
    with pytest.raises(ValueError, match="2 samples have a generator, got 3"):
        randn(noise(3, 4), some)
    assert randn(noise(0, 4), PerSample(0, [])).shape == (0, 4)


def test_seeds_do_not_share_images() -> None:
    """PyTorch's CPU generator takes 32 bits of a seed: s and s + 2^32 were the same images."""
    seeds = (0, 1, 4295, 2**32, 2**32 + 1, 2**63 - 1)
    drawn = torch.cat([randn(noise(50, 4), PerSample(s, range(50))) for s in seeds])
    assert len(drawn.unique(dim=0)) == 50 * len(seeds)


def test_samplers_take_it_for_a_generator() -> None:
    model = Denoiser(smooth, Schedule.linear(100))
    x_T = noise(*IMAGES)
    *_, all_of_them = ancestral(model, x_T, generator=PerSample(0, range(len(x_T))))
    *_, last = ancestral(model, x_T[-1:], generator=PerSample(0, [len(x_T) - 1]))
    torch.testing.assert_close(last.x, all_of_them.x[-1:])
