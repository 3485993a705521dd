"""Two processes that talk through gloo."""

import os
import subprocess
import sys
from datetime import timedelta

from tests import GUARD


def run(module, folder):
    """`python -m module RANK FILE` for both ranks, which have to succeed."""
    command = [sys.executable, "-m", module]
    ranks = [
        subprocess.Popen([*command, str(i), str(folder / "store")], stderr=subprocess.PIPE, text=True) for i in range(2)
    ]
    try:
        errors = [process.communicate(timeout=GUARD)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(errors)


def join(rank, file):
    """The group of both; one that waits for the other in vain ends the test."""
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=2, timeout=timedelta(seconds=GUARD / 2)
    )
    return dist.group.WORLD


def leave():
    """Ends the process, without the end of the interpreter: threads of gloo may be alive then, which aborts it."""
    import torch.distributed as dist

    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)
