"""The part of a list that one of several runs does, and what is on record of it while it runs and afterwards.

``results.outputs`` has a line that says what the list was, a line for each item of the run's part, and, where the run
came to its end, a last line with what it left unfinished. By it a later run knows which files a killed one may have
left without a row, and a merge what is listed and whether all shards saw the same.
"""

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from gpumask import io
from gpumask.batching import resources
from gpumask.errors import InputRefused, UsageError

NAME = re.compile(r"results(?:\.(\d+)-of-(\d+))?\.outputs")
AGAIN = "run every shard of the list again, what is done is skipped, then merge"


def parse(text):
    """``(I, N)``, I from 1, of ``I/N`` or ``auto``; None stays None.

    ``auto`` counts the tasks of a SLURM array and, within each, the tasks that ``srun`` starts: task p of n in the i-th
    of m array tasks is shard i·n + p + 1 of m·n. SLURM does not say which array a part that is submitted again was a
    part of: ``--array=2`` alone is 1 of 1.
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


def tag(shard):
    """What the names of a shard's files have in them."""
    return "" if shard is None else f".{shard[0]}-of-{shard[1]}"


class Record(NamedTuple):
    """What ``results.outputs`` says of a run."""

    path: Path
    shard: tuple | None
    begun_at: int  # bytes of its ledger as it began
    digest: str | None  # of the whole list; None where lines are missing
    total: int  # items of the whole list
    items: list  # [input, output, recipe_hash] of its part
    before: set  # outputs that runs before it left unfinished
    left: set | None  # outputs that it left unfinished itself; None where it did not come to its end


def digest(found):
    """By which two runs know that they saw the same list: of all outputs and what is done for them."""
    text = json.dumps([[item.output, item.recipe_hash] for item in found])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def chunks(begun_at, whole, total, items, before):
    """A record as the bytes of its lines; `whole` is the digest of the list, `items` are those of the part."""
    head = {"begun_at": begun_at, "digest": whole, "total": total, "part": len(items), "before": sorted(before)}
    return [(json.dumps(line) + "\n").encode() for line in (head, *items)]


def write(path, begun_at, whole, total, items, before):
    """Put on record what a run is about to do."""
    io.write_files([(path, chunks(begun_at, whole, total, items, before))], overwrite=True)


def last(left):
    """The last line of the record of a run that came to its end."""
    return (json.dumps({"left": sorted(left)}) + "\n").encode()


def end(path, left):
    """Put on record that a run came to its end; where that fails, it counts as one that did not."""
    with contextlib.suppress(OSError), path.open("ab") as stream:
        stream.write(last(left))


def records(folder):
    """The records in a folder, by shard; lines that a crash has spoiled are left out."""
    found = []
    for path in Path(folder).glob("results*.outputs"):
        if name := NAME.fullmatch(path.name):
            shard = tuple(map(int, name.groups())) if name[1] else None
            with contextlib.suppress(FileNotFoundError):  # another shard has just taken it over
                found.append(_read(path, shard))
    return sorted(found, key=lambda record: record.shard or ())


def _read(path, shard):
    head, items = {}, []
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read: {error.strerror}; a batch needs to know what was begun") from error
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, list):
            items.append(value)
        elif isinstance(value, dict):
            head |= value
    left = head.get("left")
    whole = head.get("digest") if head.get("part") == len(items) else None
    return Record(path, shard, head.get("begun_at", 0), whole, head.get("total", 0), items,
                  set(head.get("before", ())), None if left is None else set(left))  # fmt: skip


def differing(mine, others):
    """A line for each shard of the same number that saw another list than mine."""
    return [
        f"shard {one.shard[0]} of {one.shard[1]} saw another list or other parameters ({one.total} items, here "
        f"{mine.total}); {AGAIN}"
        for one in others
        if one.shard and one.shard[1] == mine.shard[1] and one.digest != mine.digest
    ]


def joined(found):
    """The items of the list that shards have shared out, in its order, and the digest of it; None where nothing is on
    record.

    Raises
    ------
    UsageError
        A shard has not been run, or they saw different lists.
    """
    whole = next((record for record in found if record.shard is None), None)
    parts = [record for record in found if record.shard is not None]
    if whole is not None and all(record.digest == whole.digest for record in parts):
        return whole if whole.digest is not None else None
    if not parts:
        return None
    count = max(record.shard[1] for record in parts)
    by_number = {record.shard[0]: record for record in parts if record.shard[1] == count and record.digest is not None}
    missing = sorted(set(range(1, count + 1)) - set(by_number))
    if missing:
        numbers = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
        raise UsageError(f"{parts[0].path.parent}: shard {numbers} of {count} has not been run, or its record is "
                         f"damaged; run it, then merge")  # fmt: skip
    first = by_number[1]
    if len({record.digest for record in by_number.values()}) > 1:
        sizes = sorted({record.total for record in by_number.values()})
        raise UsageError(
            f"{first.path.parent}: the {count} shards saw different lists or parameters "
            f"({', '.join(map(str, sizes))} items); {AGAIN}"
        )
    items = [by_number[number % count + 1].items[number // count] for number in range(first.total)]
    return first._replace(items=items)


def _by_slurm():
    found = resources.environment()
    if found.array is None and found.task is None:
        raise UsageError(
            "shard auto needs a SLURM array or srun (SLURM_ARRAY_TASK_ID, SLURM_STEP_NUM_TASKS); give --shard I/N"
        )
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
