"""``python -m benchmarks [WORD]`` (in a checkout) or ``gpumask bench [WORD]``: check, warm up, time, compare.

A benchmark is a module with ``tables(box)``, which yields tables of cases. Every case is checked before it is timed,
and the cases of a table take turns, so that a busy moment of the machine hits all of them.
"""

import importlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

import numpy as np

from gpumask.errors import UsageError

WORDS = ("create", "regions", "resampling", "spectrum", "fsc", "start", "watershed", "sweep", "advise", "batch", "gpu")


@dataclass
class Case:
    """One row: `run` is timed; `error` is how far its result is from the reference; `calls` is how many times `run`
    does its work; `bytes` is what a voxel costs at the least, where a share of the copy is told; `prepare` is called
    before each run, untimed."""

    name: str
    run: object
    error: float | None = None
    rounds: int = 5
    calls: int = 1
    bytes: float = 8
    prepare: object = None
    seconds: list = field(default_factory=list)


@dataclass
class Table:
    """Cases on one input. `base` names the row that speeds are told in multiples of. With `voxels` and the measured
    `bandwidth` of a copy (bytes/s), rows also say which share of it they reach, counted at their `bytes`."""

    title: str
    cases: list
    base: str
    voxels: int = 0
    bandwidth: float | None = None
    note: str = ""


@dataclass
class Findings:
    """A table of what was found, not of times. A row has a `name` and of each column a number, text, None, or three
    numbers: a value and its interval."""

    title: str
    columns: tuple
    rows: list
    note: str = ""


def run(word=None, device=None, box=None, as_json=False, save=None, form=None):
    """Run one benchmark and print its tables; `save` names a file for the JSON document, which grows table by table;
    `form` is how much of it is run, where there is a choice. Returns the exit code."""
    word = word or ("gpu" if device == "cuda" else "create")
    if (word == "gpu" and device == "cpu") or (word != "gpu" and device == "cuda"):
        raise UsageError(f"benchmark {word!r} does not run on the device {device!r}")
    if word not in WORDS:
        raise UsageError(f"benchmark must be one of {', '.join(WORDS)}, got {word!r}")
    if box is not None and box < 32:
        raise UsageError(f"the box of a benchmark must be at least 32 voxels, got {box}")
    module = importlib.import_module(f".{word}", __name__)
    if form is not None and not hasattr(module, "FORMS"):
        raise UsageError(f"benchmark {word!r} has one form; leave the form out")
    document = {"benchmark": word, "machine": machine(), "tables": []}
    for table in module.tables(box) if form is None else module.tables(box, form):
        if isinstance(table, Findings):
            document["tables"].append(vars(table))
        else:
            measure(table)
            document["tables"].append(as_rows(table))
        if not as_json:
            show(document["tables"][-1])
        if save:
            Path(save).write_text(json.dumps(document, indent=2) + "\n")
    if as_json:
        print(json.dumps(document, indent=2))
    return 0


def measure(table):
    """Time every case `rounds` times, taking turns."""
    for turn in range(max(case.rounds for case in table.cases)):
        for case in table.cases:
            if turn < case.rounds:
                if case.prepare is not None:
                    case.prepare()
                start = time.perf_counter()
                case.run()
                case.seconds.append((time.perf_counter() - start) / case.calls)


def as_rows(table):
    """A measured table as plain values."""
    base = next(statistics.median(case.seconds) for case in table.cases if case.name == table.base)
    rows = []
    for case in table.cases:
        median = statistics.median(case.seconds)
        row = {
            "name": case.name,
            "seconds_median": median,
            "seconds_all": case.seconds,
            "times_base": median / base,
            "max_error": case.error,
        }
        if table.bandwidth:
            row["percent_of_copy"] = 100 * case.bytes * table.voxels / median / table.bandwidth
            row["bytes_counted"] = case.bytes
        rows.append(row)
    return {"title": table.title, "base": table.base, "note": table.note, "rows": rows}


def show(table):
    """Print a table of rows."""
    if "columns" in table:
        show_findings(table)
        return
    width = max(len(row["name"]) for row in table["rows"])
    percent = "percent_of_copy" in table["rows"][0]
    print(f"\n{table['title']}")
    print(f"{'':<{width}}  {'median s':>10}  {'x base':>8}  {'% of copy  ' * percent}{'max |Δ|':>8}")
    for row in table["rows"]:
        error = "-" if row["max_error"] is None else f"{row['max_error']:.1e}"
        share = f"{row['percent_of_copy']:>9.1f}  " if percent else ""
        print(f"{row['name']:<{width}}  {row['seconds_median']:>10.5f}  {row['times_base']:>8.2f}  {share}{error:>8}")
    print(f"base: {table['base']}. {table['note']}".rstrip(), flush=True)


def show_findings(table):
    """Print what was found, the columns numbered where their names would not fit."""
    print(f"\n{table['title']}")
    lines = [["", *(f"[{i}]" for i in range(1, len(table["columns"]) + 1))]]
    lines += [[row["name"], *(_told(row.get(column)) for column in table["columns"])] for row in table["rows"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print("  ".join([line[0].ljust(widths[0]), *cells]))
    print("; ".join(f"[{i}] {column}" for i, column in enumerate(table["columns"], 1)))
    print(table["note"], flush=True)


def _told(value):
    if value is None:
        return "-"
    if isinstance(value, list):
        return "{:.2f} ({:.2f} to {:.2f})".format(*value)
    return value if isinstance(value, str) else f"{value:.4g}"


def peak_memory(begin, call, array):
    """Peak resident memory that the code `call` adds in a process of its own, the `array` it is given included, in
    multiples of it. The code `begin` comes before: imports and what is made once."""
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        f"{begin}\n"
        "status = lambda key: next(int(line.split()[1]) * 1024 for line in\n"
        "                          Path('/proc/self/status').read_text().splitlines() if line.startswith(key))\n"
        "before = status('VmRSS')\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"  # forget the peak so far
        "array = np.load(sys.argv[1])\n"
        f"{call}\n"
        "print((status('VmHWM') - before) / array.nbytes)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.npy"
        np.save(path, array)
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return float(done.stdout)


def machine():
    """Where and with what the figures were measured."""
    from gpumask import backend

    facts = backend.facts()
    try:
        model = next(
            line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
        )
    except (OSError, StopIteration):
        model = platform.processor()
    device = None
    if facts["device"] != "cpu":
        device = facts["device_reason"]
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() if which("git") else ""
    return {
        "cpu": model.strip(),
        "gpu": device,
        "threads": facts["cpu_threads"],
        "packages": {name: version for name, version in facts["packages"].items() if version},
        "python": facts["python"],
        "commit": commit or None,
    }
