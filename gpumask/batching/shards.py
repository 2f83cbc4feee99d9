"""The part of a list that one of several runs does."""

import re

from gpumask.batching import resources
from gpumask.errors import UsageError


def parse(text):
    """``(I, N)``, I from 1, of ``I/N`` or ``auto``; None stays None.

    ``auto`` counts the tasks of a SLURM array and, within each, the tasks that ``srun`` starts: task p of n in the i-th
    of m array tasks is shard i·n + p + 1 of m·n.
    """
    if text is None:
        return None
    if text == "auto":
        return _by_slurm()
    match = re.fullmatch(r"(\d+)/(\d+)", str(text))
    index, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise UsageError(f"shard must be I/N with I from 1 to N, such as 2/8, or auto, got {text!r}")
    return index, count


def _by_slurm():
    found = resources.environment()
    if found.array is None and found.task is None:
        raise UsageError("shard auto needs a SLURM array or srun (SLURM_ARRAY_TASK_ID, SLURM_PROCID); give --shard I/N")
    index, count = 0, 1
    if found.array is not None:
        number, least, largest, step, count = found.array
        least, step = 0 if least is None else least, step or 1
        index, rest = divmod(number - least, step)
        if count is None or rest or (largest is not None and (largest - least) // step + 1 != count):
            raise UsageError(
                f"shard auto needs array tasks without gaps, such as --array=1-8, got task {number} of "
                f"{least}-{largest} ({count} tasks); give --shard I/N"
            )
    rank, ranks = found.task or (0, 1)
    return index * ranks + rank + 1, count * ranks
