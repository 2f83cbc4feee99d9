"""``python -m benchmarks.gpu_check [--to DIR] [STEP ...]``: what only a GPU can show, unattended, into one JSON.

1. The tests that need a GPU. 2. compute-sanitizer (memcheck, racecheck) over the kernels on small boxes.
3. The benchmarks ``gpu`` and ``create``. A step that fails or hangs does not stop the next; the exit code is
1 if any did.

Steps: tests, memcheck, racecheck, gpu, create; all of them unless named. Where a command has a time limit, run them one
by one with the same DIR: they add to one document.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from gpumask import cuda

from . import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
SANITIZED = ["-m", "gpu and not slow", "tests/test_kernels.py"]


LIMIT = 540  # seconds a step may take


def main(folder=RESULTS, wanted=()):
    missing = cuda.missing()
    if missing:  # all tests would be skipped, and that counts as passed
        print(f"gpu_check: {missing}", file=sys.stderr)
        return 4
    folder.mkdir(parents=True, exist_ok=True)
    facts = machine()
    name = re.sub(r"[^A-Za-z0-9]+", "-", facts["gpu"] or "no-gpu").strip("-").lower()
    target = folder / f"{name}-{datetime.date.today().isoformat()}.json"
    steps = {"tests": [*PYTEST, "-m", "gpu", "tests"]}
    sanitizer = shutil.which("compute-sanitizer", path=f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin")
    for tool in ("memcheck", "racecheck"):
        steps[tool] = [sanitizer, "--tool", tool, "--error-exitcode", "9", *PYTEST, *SANITIZED] if sanitizer else None
    for word in ("gpu", "create"):
        steps[word] = [sys.executable, "-m", "benchmarks", word, "--save", str(folder / f".{word}.json")]
    document = {"machine": facts, "steps": {}, "benchmarks": {}}
    if wanted and target.exists():
        document = json.loads(target.read_text())
    for step, command in steps.items():
        if wanted and step not in wanted:
            continue
        print(f"\n== {step}", flush=True)
        start = time.perf_counter()
        if command is None:
            print("compute-sanitizer was not found; it comes with the CUDA toolkit", flush=True)
        # CuPy's pool cuts small arrays from large blocks, where memcheck cannot see a store past an array.
        environment = {**os.environ, "GPUMASK_NO_POOL": "1"} if step in ("memcheck", "racecheck") else None
        try:
            done = command and subprocess.run(command, cwd=ROOT, check=False, timeout=LIMIT, env=environment)
            code = done.returncode if command else None
        except subprocess.TimeoutExpired:
            code = "timed out"
        document["steps"][step] = {"exit_code": code, "seconds": time.perf_counter() - start}
        saved = folder / f".{step}.json"
        if saved.exists():
            document["benchmarks"][step] = json.loads(saved.read_text())["tables"]
            saved.unlink()
        target.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{target}")
    for step, outcome in document["steps"].items():
        said = {None: "not run", 0: "passed"}.get(outcome["exit_code"], f"FAILED ({outcome['exit_code']})")
        print(f"  {step:<10} {said}, {outcome['seconds']:.0f} s")
    return int(any(outcome["exit_code"] for outcome in document["steps"].values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check")
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--to", type=Path, default=RESULTS, metavar="DIR")
    arguments = parser.parse_args()
    sys.exit(main(arguments.to.resolve(), arguments.steps))
