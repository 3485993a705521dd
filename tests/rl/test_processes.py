"""Two processes that talk through gloo, for all tests that need them."""

import os
import subprocess
import sys
from datetime import timedelta

from tests import GUARD
from tests.conftest import need


def test_two_processes(tmp_path):
    """`python -m tests.rl.test_processes RANK FILE` for both ranks, which have to succeed."""
    need("torch")
    command = [sys.executable, "-m", "tests.rl.test_processes"]
    ranks = [
        subprocess.Popen([*command, str(i), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    try:
        errors = [process.communicate(timeout=GUARD)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(errors)


def main(rank, file):
    """What each process does; threads of gloo may be alive at the end of the interpreter, which aborts it."""
    import torch.distributed as dist

    from tests.rl import ranks_as_one, ranks_that_differ

    # one that waits for the other in vain ends the test
    wait = timedelta(seconds=GUARD / 2)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2, timeout=wait)
    ranks_as_one.check(rank, dist.group.WORLD)
    ranks_that_differ.check(rank, dist.group.WORLD)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
