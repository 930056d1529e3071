"""A contestant in its own process: the time of its first call and the peak of its memory.

The process is `python -m benchmarks.visits MODEL CONTESTANT BATCH`; it prints the answer as JSON.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLS = 2  # the first compiles; memory that later ones take is part of the peak


@dataclass(frozen=True)
class Visit:
    """The seconds from the built model to the first result, and the peak of memory from there in bytes."""

    first_seconds: float
    peak_bytes: int


@functools.cache
def visit(model: str, contestant: str, batch: int) -> Visit:
    """Run one; kept, since two tables read it.

    Raises:
        RuntimeError: the process fails; the last line of what it says.
    """
    command = [sys.executable, "-m", "benchmarks.visits", model, contestant, str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(lines[-1])
    return Visit(**json.loads(done.stdout.splitlines()[-1]))


def resident_bytes(peak: bool = False) -> int:
    """Return the memory of this process in bytes, now or at its peak.

    `getrusage` alone would not do for the peak: on Linux a process begins with the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        kind = "VmHWM" if peak else "VmRSS"
        found = re.search(rf"^{kind}:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.M)
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Reset the peak, on Linux: building the model does not count for a contestant."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def main(model_name: str, contestant: str, batch: str) -> None:
    from benchmarks.contestants import CONTESTANTS
    from benchmarks.models import NETWORKS

    network = NETWORKS[model_name]
    model, images = network.model(), network.images(int(batch))
    model(images[:1], training=False)  # weights and libraries are in place for all alike
    forget_peak()
    started = time.perf_counter()
    call = CONTESTANTS[contestant].make(model, images, network.layer)
    call()
    first = time.perf_counter() - started
    for _ in range(CALLS - 1):
        call()
    print(json.dumps(asdict(Visit(first, resident_bytes(peak=True)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
