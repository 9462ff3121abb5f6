"""How many cores there are to use."""

import os


def usable_cores() -> int:
    """Cores that this process may run on, where the system and OMP_NUM_THREADS say so."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores
