"""Masks of many maps from disk to disk: a batch, loops of single commands, and what disk and processors alone take.

Every case starts with the maps out of the system's cache. Seconds are for one map.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gpumask
from gpumask import io, uncached
from gpumask.batching import rings

from . import Case, Findings, Table
from .create import DILATION, LEVEL, SOFT_EDGE, THREADS, particle

COUNT = 64
BATCH, LOOP, TTMASK = "gpumask batch", "shell loop of gpumask create", "shell loop of ttmask"
ALONE = f"compute alone, {THREADS} processes of 1 thread, the map in memory"
READ, WRITE = "read alone, past the system's cache", "write and fsync alone, rows that are not 0"
IN_LOOP, IN_TTMASK = 8, 4  # of them, where each takes seconds
ENTRY = [sys.executable, "-c", "import sys; from gpumask.cli import main; sys.exit(main())"]
FLAGS = ["--threshold", str(LEVEL), "--dilate", str(DILATION), "--soft-edge", str(SOFT_EDGE), "--device", "cpu"]
COMPUTE = """
import sys
import gpumask
from gpumask import io, pipeline
from gpumask._cpu import threads
threads.limit(1)
volume, _ = io.load(sys.argv[1])
recipe = gpumask.MaskRecipe(threshold=float(sys.argv[2]), dilation=f"{sys.argv[3]}px", soft_edge=f"{sys.argv[4]}px")
pipeline.make(volume, recipe)
for _ in range(int(sys.argv[5])):
    pipeline.make(volume, recipe)
"""


def tables(box):
    folder = Path(tempfile.mkdtemp(prefix="gpumask-bench-", dir=os.environ.get("GPUMASK_BENCH_FOLDER")))
    try:
        yield from _tables(box or 256, folder)
    finally:
        shutil.rmtree(folder)


def _tables(box, folder):
    maps = folder / "maps"
    maps.mkdir()
    volume = particle(box)
    paths = [maps / f"map{number:03}.mrc" for number in range(COUNT)]
    for number, path in enumerate(paths):
        io.write(path, gpumask.Volume(np.roll(volume, number, axis=2), 1.0))
    mask = gpumask.mask.soft_mask(gpumask.mask.threshold(volume, LEVEL), DILATION, SOFT_EDGE)
    written = filled_bytes(mask)
    batched = _batch(folder, maps)
    ttmask = Path(sys.executable).with_name("ttmask")
    cases = [
        Case(f"{BATCH} --dense", _batch(folder, maps, "--dense"), None, 3, COUNT),
        Case(LOOP, _loop(folder, paths[:IN_LOOP]), None, 2, IN_LOOP),
        *([Case(TTMASK, _ttmask(folder, ttmask, paths[:IN_TTMASK]), None, 1, IN_TTMASK)] if ttmask.exists() else []),
        Case(ALONE, _compute(paths[0]), None, 3, COUNT),
        Case(READ, _read(paths), None, 3, COUNT),
        Case(WRITE, _write(folder, written), None, 3, COUNT),
        Case(BATCH, batched, _error(folder, mask, batched), 3, COUNT),
    ]
    for case in cases:
        case.prepare = lambda: _prepare(folder, paths)
    note = f"{written / mask.nbytes:.0%} of a mask's bytes are in rows that are not 0."
    title = f"{COUNT} maps of {box}³ from disk to disk, {THREADS} threads; seconds for one map"
    yield Table(title, cases, BATCH, note=note)
    yield _judged(cases, COUNT, folder, paths)


def filled_bytes(mask):
    """What the rows of a mask take that are not 0."""
    rows = np.ascontiguousarray(mask).view(np.uint8).reshape(mask.shape[0] * mask.shape[1], -1)
    return int(rows.any(axis=1).sum()) * rows.shape[1]


def _prepare(folder, paths):
    """What was made before is gone, and the maps are out of the system's cache, as far as it lets go."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    for path in paths:
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _command(folder, source, *more):
    return [*ENTRY, "batch", str(source), "-o", str(folder / "out"), *FLAGS, *more]


def _batch(folder, maps, *more):
    def run():
        subprocess.run(_command(folder, maps, *more), check=True, capture_output=True)

    return run


def _error(folder, mask, run):
    """How far the first mask of a batch is from the library's; also the warm-up."""
    run()
    rows = [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text().splitlines()]
    assert all(row["status"] == "done" for row in rows), rows
    return float(np.abs(io.load(folder / "out" / "map000_mask.mrc")[0].data - mask).max())


def _loop(folder, paths):
    def run():
        for path in paths:
            target = folder / "one.mrc"
            subprocess.run(
                [*ENTRY, "create", str(path), "-o", str(target), "--force", *FLAGS], check=True, capture_output=True
            )

    return run


def _ttmask(folder, program, paths):
    options = [
        "--binarization-threshold",
        str(LEVEL),
        "--padding-width",
        str(DILATION),
        "--soft-edge-width",
        str(SOFT_EDGE),
    ]

    def run():
        for path in paths:
            files = ["--input-map", str(path), "--output-mask", str(folder / "tt.mrc"), "--pixel-size", "1"]
            subprocess.run([str(program), "map2mask", *files, *options], check=True, capture_output=True)

    return run


def _compute(path):
    command = [sys.executable, "-c", COMPUTE, str(path), *map(str, (LEVEL, DILATION, SOFT_EDGE, COUNT // THREADS))]

    def run():
        processes = [subprocess.Popen(command) for _ in range(THREADS)]
        codes = [process.wait() for process in processes]
        assert not any(codes), codes

    return run


def _read(paths):
    size = paths[0].stat().st_size
    memory = memoryview(rings.Ring(1).take(size))

    def run():
        for path in paths:
            with open(path, "rb") as stream:
                assert uncached.read(stream.fileno(), memory, size) == size

    return run


def _write(folder, size, count=COUNT):
    data = np.random.default_rng(0).bytes(size)

    def run():
        for _ in range(count):
            io.write_files([(folder / "alone", [data])], overwrite=True)

    return run


def _family(pid):
    """A process and all that it and they have started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _peak(folder, paths):
    """Peak memory of the batch's processes together, MiB; pages that several have are shared out among them."""
    listed = folder / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in paths))
    shutil.rmtree(folder / "out", ignore_errors=True)
    process, peak = subprocess.Popen(_command(folder, listed), stdout=subprocess.PIPE, stderr=subprocess.PIPE), 0
    while process.poll() is None:
        try:
            found = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in _family(process.pid)]
            peak = max(peak, sum(int(re.search(r"Pss:\s+(\d+)", text)[1]) for text in found))
        except (OSError, TypeError):  # one has just ended
            pass
        time.sleep(0.02)
    process.communicate()
    return peak / 1024


def _judged(cases, count, folder, paths):
    """The ratios that are asked for, of the medians."""
    seconds = {case.name: statistics.median(case.seconds) for case in cases}
    batch, compute, disk = seconds[BATCH], seconds[ALONE], seconds[READ] + seconds[WRITE]
    rows = [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text().splitlines()]
    filled = statistics.mean(filled_bytes(io.load(folder / "out" / row["output"])[0].data) for row in rows[:4])
    found = [
        ("share of the slower of disk and compute alone", f"{max(compute, disk) / batch:.0%}", "80 %"),
        ("against a shell loop of gpumask create", f"{seconds[LOOP] / batch:.2g}x", "3x"),
        *([("against a shell loop of ttmask", f"{seconds[TTMASK] / batch:.3g}x", "-")] if TTMASK in seconds else []),
        ("bytes written / bytes of rows that are not 0", f"{rows[0]['bytes_written'] / filled:.3f}", "1.2"),
        *((f"peak memory of {n} maps, all processes", f"{_peak(folder, paths[:n]):.0f} MiB", "flat")
          for n in (count // 4, count // 2, count)),
    ]  # fmt: skip
    rows = [{"name": name, "measured": value, "target": target} for name, value, target in found]
    return Findings("Ratios", ("measured", "target"), rows, "disk alone: reading all maps, then writing all masks")
