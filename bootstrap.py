#!/usr/bin/env python3
"""Set up gpumask in this checkout and run it: python3 bootstrap.py demo|test|lint|bench|gpu-check [arguments].

The first call makes .venv beside this file; later ones find its stamp and start the program at once, with
the arguments passed on. Needs nothing but the standard library, and no syntax newer than Python 3.6, so that
an old Python gets a sentence and not a traceback.
"""

import ctypes
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

MINIMUM_PYTHON = (3, 10)
PYTHON_HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
if sys.version_info < MINIMUM_PYTHON:
    sys.exit(f"gpumask needs Python >= 3.10, this is {PYTHON_HERE}: name another, make demo PYTHON=python3.11")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "gpumask.json"
DEBIAN_WHEELS = Path("/usr/share/python-wheels")

# verb: the extras it needs, the programs it runs one after the other
TASKS = {
    "demo": (["fast", "plot"], [[VENV / "bin" / "gpumask", "demo", "-o", "demo", "--force"]]),
    "test": (["fast", "plot", "test"], [[PYTHON, "-m", "pytest", "-n", "auto", "--dist=loadfile", "-m", "not slow"]]),
    "lint": (["test"], [[PYTHON, "-m", "ruff", "check"], [PYTHON, "-m", "ruff", "format", "--check"]]),
    "bench": (["fast", "bench"], [[PYTHON, "-m", "benchmarks"]]),
    "gpu-check": (["fast", "test"], [[PYTHON, "-m", "benchmarks.gpu_check"]]),
}
# the extras that gpumask also runs without, and what happens then
OPTIONAL = {
    "fast": "numpy does the work of numba, slower",
    "cuda12": "the CPU does the work of the GPU",
    "cuda13": "the CPU does the work of the GPU",
    "cuda12-ctk": "the CPU does the work of the GPU",
    "cuda13-ctk": "the CPU does the work of the GPU",
}


def run(command: list, **options) -> subprocess.CompletedProcess:
    # A PYTHONPATH set for other software would make pip take that software's packages for installed ones.
    environment = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run([str(word) for word in command], cwd=ROOT, env=environment, **options)


def attempt(command: list) -> tuple[bool, str]:
    """Run it unseen; whether it worked, and what it said."""
    result = run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return result.returncode == 0, result.stdout.strip()


def say(line: str) -> None:
    print(f"gpumask: {line}", file=sys.stderr, flush=True)


def driver_version() -> int:
    """The newest CUDA that the driver of this machine runs, 12040 for 12.4; 0 without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    version = ctypes.c_int(0)
    return version.value if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else 0


def declared_extras(pyproject: str) -> list[str]:
    """The names under [project.optional-dependencies]; by hand because Python 3.10 has no tomllib."""
    section = re.search(r"(?ms)^\[project\.optional-dependencies\]$(.*?)(?=^\[|\Z)", pyproject)
    return re.findall(r"(?m)^([\w-]+)\s*=", section.group(1)) if section else []


def cuda_extra(driver: int, declared: list[str]) -> list[str]:
    """The newest declared extra that the driver can serve: it runs CUDA older than its own, never newer."""
    majors = [int(name[4:]) for name in declared if re.fullmatch(r"cuda\d+", name)]
    served = [major for major in majors if major <= driver // 1000]
    if not served:
        return []
    name = f"cuda{max(served)}"
    return [f"{name}-ctk"] if f"{name}-ctk" in declared and not has_nvrtc(max(served)) else [name]


def has_nvrtc(major: int) -> bool:
    """Whether the CUDA toolkit's compiler is on this machine; else the extra has to bring it."""
    try:
        ctypes.CDLL(f"libnvrtc.so.{major}")
    except OSError:
        return False
    return True


def make_venv(folder: Path) -> None:
    """A new virtual environment with pip in it, whatever this Python was shipped without."""
    create = [sys.executable, "-m", "venv", "--clear", folder]
    if attempt(create)[0]:
        return
    # Debian ships ensurepip apart, in python3-venv. An environment without pip does not need it, and any
    # pip of the machine can then put one in: PEP 668 keeps it out of the system's own packages only.
    made, output = attempt([*create, "--without-pip"])
    python = folder / "bin" / "python"
    pips = [[sys.executable, "-m", "pip", "--python", python]]
    pips += [[python, wheel / "pip"] for wheel in DEBIAN_WHEELS.glob("pip-*.whl")]
    for pip in pips if made else []:
        worked, output = attempt([*pip, "install", "pip"])
        if worked:
            return
    reason = output.splitlines()[-1] if output else "no message"
    sys.exit(f"gpumask: cannot make {folder.name} with pip ({reason}): sudo apt install python3-venv, try again")


def install(extras: list[str]) -> list[str]:
    """Install this checkout, editable, with as many of the extras as can be had; gives those that cannot."""
    optional = [name for name in extras if name in OPTIONAL]
    # numba as a wheel or not at all: where it has no wheel its sources do not build either, after minutes.
    pip = [PYTHON, "-m", "pip", "install", "--only-binary", "numba,llvmlite", "--editable"]
    for count in range(len(optional) + 1):
        for missing in itertools.combinations(optional, count):
            target = f".[{','.join(name for name in extras if name not in missing)}]"
            worked, output = attempt([*pip, target])
            if worked:
                return list(missing)
    print(output, file=sys.stderr)
    sys.exit(f"gpumask: pip cannot install {target}, its messages are above: check the network, then try again")


def read_stamp() -> dict:
    """What the last complete set-up left, or a blank when there was none or .venv is broken."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stamp = {}
    return stamp if stamp and PYTHON.exists() else {"key": "", "extras": [], "missing": []}


def set_up(extras: list[str]) -> None:
    """Make .venv hold the extras. The stamp goes first and comes last: an interrupted set-up starts anew."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if "fast" in extras:
        extras = extras + cuda_extra(driver_version(), declared_extras(pyproject))
    # ROOT: scripts and the editable install hold absolute paths, so a moved checkout is set up again
    key = hashlib.sha256("\n".join([pyproject, PYTHON_HERE, str(ROOT)]).encode()).hexdigest()
    stamp = read_stamp()
    if stamp["key"] != key or not set(extras) <= set(stamp["extras"]):
        say(f"setting up .venv with {', '.join(extras)}: once, about a minute")
        STAMP.unlink(missing_ok=True)
        if stamp["key"] == key:
            extras = sorted({*extras, *stamp["extras"]})
        else:
            make_venv(VENV)
        stamp = {"key": key, "extras": extras, "missing": install(extras)}
        STAMP.write_text(json.dumps(stamp), encoding="utf-8")
    for name in stamp["missing"]:
        say(f"Python {PYTHON_HERE} cannot install '{name}': {OPTIONAL[name]} (make clean, to try again)")


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in TASKS:
        sys.exit(f"bootstrap.py takes one of {', '.join(TASKS)}, got {' '.join(arguments) or 'nothing'}")
    extras, programs = TASKS[arguments[0]]
    set_up(extras)
    for program in programs:
        status = run([*program, *arguments[1:]]).returncode
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
