"""``python -m benchmarks.gpu_check``: everything that only a GPU can show, unattended, into one JSON document.

1. The tests that need a GPU. 2. compute-sanitizer (memcheck, racecheck) over the kernels on small boxes.
3. The benchmarks ``gpu`` and ``create``. A step that fails does not stop the next; the exit code is 1 if any did.
"""

import datetime
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
SANITIZED = ["-m", "gpu and not slow", "tests/test_kernels.py"]


def main(folder=RESULTS):
    folder.mkdir(parents=True, exist_ok=True)
    facts = machine()
    name = re.sub(r"[^A-Za-z0-9]+", "-", facts["gpu"] or "no-gpu").strip("-").lower()
    target = folder / f"{name}-{datetime.date.today().isoformat()}.json"
    steps = {"tests": [*PYTEST, "-m", "gpu", "tests"]}
    sanitizer = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck"):
        steps[tool] = [sanitizer, "--tool", tool, "--error-exitcode", "9", *PYTEST, *SANITIZED] if sanitizer else None
    for word in ("gpu", "create"):
        steps[word] = [sys.executable, "-m", "benchmarks", word, "--save", str(folder / f".{word}.json")]
    document = {"machine": facts, "steps": {}, "benchmarks": {}}
    for step, command in steps.items():
        print(f"\n== {step}", flush=True)
        start = time.perf_counter()
        if command is None:
            print("compute-sanitizer was not found; it comes with the CUDA toolkit", flush=True)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode if command else None
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
    sys.exit(main())
