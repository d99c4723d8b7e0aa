# @title Set-up: run this first
# This cell makes the notebook run anywhere. On Colab it installs the book's library (torch stays
# as Colab has it); everywhere else it only chooses the profile: what your machine can do.
import importlib.util
import os
import subprocess
import sys

REPOSITORY = "https://github.com/minidiff/minidiff"
IN_COLAB = "google.colab" in sys.modules
if importlib.util.find_spec("minidiff") is None:
    if not IN_COLAB:
        raise ImportError(f"minidiff is not installed here: pip install git+{REPOSITORY}")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]  # keep Colab's PyTorch
    subprocess.run([*command, f"git+{REPOSITORY}", "torchdiffeq"], check=True)

import torch

GPU = torch.cuda.is_available()
PROFILE = os.environ.setdefault("MINIDIFF_PROFILE", "gpu" if GPU else "cpu")
if PROFILE not in ("cpu", "gpu"):
    raise ValueError(f"MINIDIFF_PROFILE must be cpu or gpu, got {PROFILE!r}")
if IN_COLAB and not GPU:
    print("No GPU is on. Everything here runs without one, at a smaller size. To switch one on:")
    print("Runtime > Change runtime type > T4 GPU > Save, then Runtime > Run all.")
print(f"MINIDIFF_PROFILE={PROFILE}")
