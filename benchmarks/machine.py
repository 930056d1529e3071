"""The machine and the versions of a measurement."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf


def gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow sees."""
    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(one).get("device_name", one.name) for one in devices]


def describe() -> str:
    """Describe cores, processor, versions, threads and load; on a busy machine the times mean little."""
    threads = [tf.config.threading.get_intra_op_parallelism_threads(), os.environ.get("OMP_NUM_THREADS")]
    within, openmp = (str(count) if count else "one a core" for count in threads)
    load = f"load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else "load unknown"
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    return (
        f"{cores()} cores of {_processor()}; {memory()}; GPU: {', '.join(gpus()) or 'none'}; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}; threads: {within} (OpenMP: {openmp}); {load}"
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return "memory unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
