"""Two gloo processes on the CPU: the same gradients, the same samples, and no hanging."""

import re
from pathlib import Path

import pytest
import torch
import torch.distributed
from forks import Forks

from minidiff.engine.checkpoint import latest, load_pretrained, read, states

SCRIPT = str(Path(__file__).with_name("distributed_run.py"))

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this PyTorch was built without torch.distributed's gloo",
)


def test_two_processes_are_one_with_the_joint_batch(tmp_path: Path, forks: Forks) -> None:
    """DDP and FSDP2, two parts a step, clipping, Adam and EMA: the same weights after 3 steps."""
    done = forks.run(SCRIPT, "1,2", "joint", str(tmp_path))
    assert done.returncode == 0, done.stderr
    one, info = read(latest(tmp_path / "1"))
    assert info["step"] == 3
    for name in ("2", "2-fsdp"):
        two, _ = read(latest(tmp_path / name))
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(
                two[key], value, rtol=1e-6, atol=1e-6, msg=f"{key} differs with {name}"
            )
        samples = torch.load(tmp_path / f"samples-{name}.pt", weights_only=True)
        alone = torch.load(tmp_path / "samples-1.pt", weights_only=True)
        torch.testing.assert_close(samples, alone, rtol=0, atol=1e-4)


def test_a_model_trained_in_parts_is_whole_for_whoever_asks(tmp_path: Path, forks: Forks) -> None:
    """One process alone saved it: PyTorch had no words for its shard, and a call would wait."""
    done = forks.run(SCRIPT, "2", "whole", str(tmp_path))
    assert done.returncode == 0, done.stderr
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    run, alone = (load_pretrained(tmp_path / name)(x, 5) for name in ("run", "alone.safetensors"))
    assert torch.equal(run.raw, alone.raw)


def test_resume_with_another_number_of_processes(tmp_path: Path, forks: Forks) -> None:
    """Two processes, then one; the loss-aware sampler of t goes along."""
    for processes, steps in (("2", 2), ("1", 4)):
        done = forks.run(SCRIPT, processes, "train", str(tmp_path), str(steps))
        assert done.returncode == 0, done.stderr
        tensors, info = read(latest(tmp_path))
        assert info["step"] == steps
        assert int(tensors["times/counts"].sum()) > 16 * (steps - 1)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_group_ends_and_the_next_one_begins(tmp_path: Path, forks: Forks) -> None:
    """DDP's reducer, freed after its group, waited for gloo's thread, and that for Python's lock;
    and a second group looked for the processes where the first had been."""
    done = forks.run(SCRIPT, "2", "groups", str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_job_and_loses_nothing(
    tmp_path: Path, forks: Forks, rank: int
) -> None:
    """The other one saves what both have done, be it the main one or not, and does not hang."""
    done = forks.run(SCRIPT, "2", "die", str(tmp_path), str(rank))
    assert done.returncode != 0
    assert "another process of this run has ended, and with it the run" in done.stderr
    assert list(states(tmp_path)) == [4]
    assert read(latest(tmp_path))[1]["step"] == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_lacks_data_has_all_save_their_parts(
    tmp_path: Path, forks: Forks, rank: int
) -> None:
    """With FSDP2 a state needs all processes: they hear of it in time, in whatever part it is."""
    done = forks.run(SCRIPT, "2", "fail", str(tmp_path), str(rank))
    assert done.returncode != 0
    assert "OSError: a picture cannot be read" in done.stderr
    assert "step 4 of 1000000 is saved in" in done.stderr
    assert "are lost" not in done.stderr
    assert list(states(tmp_path)) == [4]
    assert read(latest(tmp_path))[1]["step"] == 4


def test_a_process_that_fails_within_a_step_says_what_is_lost(tmp_path: Path, forks: Forks) -> None:
    """Where the others have begun to wait for its part, none is saved, and that is said."""
    done = forks.run(SCRIPT, "2", "fail-within", str(tmp_path), "1")
    assert done.returncode != 0
    assert "4 steps are lost, for with fsdp a state needs all processes" in done.stderr
    assert not states(tmp_path)


def test_what_the_main_process_refuses_ends_all_in_a_sentence(tmp_path: Path, forks: Forks) -> None:
    done = forks.run(SCRIPT, "2", "train", str(tmp_path), "4")  # which resumes, and there is no run
    assert done.returncode != 0
    told = re.findall(r"^\S+CheckpointError: there is no run in", done.stderr, re.M)
    assert len(told) == 1, done.stderr  # at a line's beginning: the launcher quotes it further in
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["sample --out", "evaluate --data digits --extractor"])
def test_what_a_command_refuses_is_said_once(tmp_path: Path, words: str, forks: Forks) -> None:
    """One process looks where the result goes; the others learn of it and are not left waiting."""
    file = tmp_path / "file"
    file.touch()
    done = forks.run(SCRIPT, "2", "command", str(tmp_path), *words.split(), str(file))
    assert done.returncode != 0
    told = re.findall(r"^minidiff: (?:.*file is no folder|--extractor must be)", done.stderr, re.M)
    assert len(told) == 1, done.stderr
    assert "another process" not in done.stderr
