"""What torchrun starts in test_distributed.py: a short run whose every step is told."""

import sys
from pathlib import Path

import torch
from configurations import shared_work

from vqe_cli.training import loop, progress

if __name__ == "__main__":
    torch.set_num_threads(1)
    progress.TELL_STEPS = 1
    task, data, out = sys.argv[1:]
    loop.train(shared_work(task, batch=2), Path(data), Path(out))
