"""Chapter 17: several processes, one a GPU, by PyTorch's own tools (torchrun, DDP, FSDP2).

One computer with N GPUs:

    torchrun --nproc_per_node=N -m minidiff train CONFIG --out DIR

M computers that share the folder DIR, with the same command on each (HOST is any one of them):

    torchrun --nnodes=M --nproc_per_node=N --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 \\
        -m minidiff train CONFIG --out DIR

Started plainly there is one process and nothing here does anything.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
LAUNCHERS = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
TIMEOUT = timedelta(minutes=10)  # a process that waits longer for the others gives up
# torchrun's store outlives a group: the next one would read the addresses that the last one wrote
_groups = itertools.count()


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is, and the device it works on."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes the logs and the files."""
        return self.rank == 0

    def largest(self, number: int) -> int:
        """The largest of all processes' numbers. (All must ask at the same step.)"""
        if self.size == 1:
            return number
        numbers = torch.tensor(number, device=self.device)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return int(numbers)

    def together(self, work: Callable[[], T]) -> T:
        """What `work` gives each process, once it has for all; what one raises ends them all.

        The others end by SystemExit: the one that failed has the words for it.
        """
        failure: Exception | None = None
        try:
            done = work()
        except Exception as error:
            failure = error
        failed = self.largest(int(failure is not None))
        if failure is not None:
            raise failure
        if failed:
            raise SystemExit(1)
        return done

    def main_does(self, work: Callable[[], object]) -> None:
        """The main process works while the others wait; what it raises ends them all."""
        self.together(work if self.main else lambda: None)

    def gather(self, x: Tensor) -> Tensor:
        """The tensors of all processes, one after the other along the first dimension."""
        if self.size == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.size > 1:
            dist.all_reduce(x, op=dist.ReduceOp.SUM)
            x /= self.size
        return x


@contextmanager
def processes(device: str | torch.device | None = None) -> Iterator[World]:
    """Join the processes that torchrun started (NCCL between GPUs, gloo between CPUs)."""
    here = usable(device)
    cuda = here.type == "cuda"
    size = _count("WORLD_SIZE")
    if size == 1:
        yield World(0, 1, here)
        return
    lacking = [name for name in LAUNCHERS if name not in os.environ]
    if lacking and not dist.is_initialized():
        raise ValueError(
            f"WORLD_SIZE is {size}, as where several processes are started, but there is no "
            f"{' and no '.join(lacking)}: start them with torchrun, or unset WORLD_SIZE"
        )
    local = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(local)
    if dist.is_initialized():  # by the caller, who also ends it
        yield World(dist.get_rank(), dist.get_world_size(), local)
        return
    store, rank, _ = next(rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=PrefixStore(f"minidiff/{next(_groups)}", store),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
        device_id=local if cuda else None,
    )
    try:
        yield World(dist.get_rank(), size, local)
    finally:
        dist.destroy_process_group()


def command() -> list[str]:
    """The words that start `python -m minidiff` as this process was started, alone or with others.

    >>> command()
    ['python', '-m', 'minidiff']
    """
    size, here = _count("WORLD_SIZE"), _count("LOCAL_WORLD_SIZE")
    if size == 1:
        return ["python", "-m", "minidiff"]
    there = os.environ.get("MASTER_ADDR", "HOST")
    nodes = [f"--nnodes={size // here}", "--rdzv_backend=c10d", f"--rdzv_endpoint={there}:29500"]
    more = nodes if size > here else []
    return ["torchrun", *more, f"--nproc_per_node={here}", "-m", "minidiff"]


def _count(name: str) -> int:
    """How many processes there are, as the launcher says; 1 without one."""
    text = os.environ.get(name) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name} must be a number of processes, got {text!r}: unset it")
    return int(text)


def shell(words: Sequence[str]) -> str:
    """A command to paste into a shell, in one line and to the letter whatever names are in it.

    >>> print(shell(["ls", "my runs", "a" + chr(10) + "b"]))
    ls 'my runs' $'a\\x0ab'
    """

    def quoted(word: str) -> str:
        if word.isprintable():
            return shlex.quote(word)
        return f"$'{''.join(map(letter, word))}'"  # as bash, zsh and ksh read it

    def letter(c: str) -> str:
        if c in "\\'":
            return f"\\{c}"
        return c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))

    return " ".join(map(quoted, words))


def usable(device: str | torch.device | None) -> torch.device:
    """The device asked for, refused if it is not there; by default a GPU if there is one.

    >>> usable("cpu")
    device(type='cpu')
    """
    cuda = torch.cuda.is_available()
    try:
        found = torch.device(device or ("cuda" if cuda else "cpu"))
    except RuntimeError:
        raise ValueError(f"device must be cpu, cuda, or cuda:1 and so on; got {device!r}") from None
    if found.type == "cuda" and not cuda:
        raise ValueError(f"PyTorch {torch.__version__} finds no GPU here: leave out the device")
    if found.type == "mps":
        raise ValueError("Apple's GPUs have no float64, in which schedules are kept: take cpu")
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu, cuda, or cuda:1 and so on; got {str(found)!r}")
    if cuda and found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"there is no {found} here, the last is {torch.cuda.device_count() - 1}")
    return found


def copies(net: nn.Module, world: World) -> nn.Module:
    """DDP: each process holds the network, and their gradients are averaged."""
    if world.size == 1:
        return net
    # torch.compile would cut the network wherever DDP cuts its gradients into buckets. What
    # two GPUs do with it in one piece is in results/train_1gpu.json and train_2gpu.json.
    torch._dynamo.config.optimize_ddp = False
    ddp = DistributedDataParallel(
        net,
        device_ids=None if world.device.type == "cpu" else [world.device.index],
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )
    # Attributes are freed in the order in which they came, and the last owner ends the group. DDP's
    # reducer would do so while it holds Python's lock, for which gloo's thread may be waiting.
    ddp.last_owner = ddp.process_group  # type: ignore[assignment]
    return ddp


def shards(net: nn.Module) -> None:
    """FSDP2: cut the network, its gradients and its optimizer over the processes, in place."""
    from torch.distributed.fsdp import fully_shard

    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # FSDP2 wants it
    for stage in net.children():
        for block in stage if isinstance(stage, nn.ModuleList) else [stage]:
            if any(p.numel() for p in block.parameters()):
                fully_shard(block)
    fully_shard(net)


def whole(t: Tensor) -> Tensor:
    """A tensor put together from its shards (all processes must ask for it)."""
    from torch.distributed.tensor import DTensor

    return t.full_tensor() if isinstance(t, DTensor) else t


def fill(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into a target that may be cut into shards."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(target, DTensor):
        value = distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    target.copy_(value)
