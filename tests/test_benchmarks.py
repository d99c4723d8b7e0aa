"""The scripts of benchmarks/ run, and what they compare is the same thing on both sides.

Tiny networks on the processor, in processes of their own as a reader would start them. Speeds are
not looked at.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def rows(script: str, *arguments: str) -> list[dict[str, object]]:
    """What a script prints as JSON, line by line."""
    pytest.importorskip("diffusers")
    run = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--smoke", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def test_training_speed() -> None:
    found = rows("train_gpu.py", "--jobs", "ours:plain:8", "ours:fused:8", "diffusers:default:8")
    assert len(found) == 3
    assert not [row["error"] for row in found if "error" in row]
    assert len({row["parameters"] for row in found}) == 1  # one network, three programs
    assert len({row["forward_flops_per_image"] for row in found}) == 1


def test_a_peer_is_sampled_by_its_own_prediction() -> None:
    """In smoke mode equal_time.py compares our view of a network with the library's own x_0."""
    found = rows("equal_time.py", "--recipes", "diffusers:default:128", "ours:compiled:512")
    assert [row["library"] for row in found if "quality" in row] == ["diffusers", "ours"]


def printed(script: str) -> str:
    """What a script prints in smoke mode."""
    run = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--smoke"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def test_sampling_of_the_same_weights_gives_the_same_images() -> None:
    assert "'same': True" in printed("sampling_gpu.py")


def test_every_row_of_table2_can_be_trained_and_measured() -> None:
    assert printed("table2.py").count("bits_per_dim") == 8
