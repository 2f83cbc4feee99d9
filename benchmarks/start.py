"""How long the program takes to answer when it has nothing to do."""

import subprocess
import sys

from . import Case, Table

ENTRY = "import sys; from gpumask.cli import main; sys.exit(main(sys.argv[1:]))"
COMMANDS = {
    "python -c 'import argparse'": ["import argparse"],
    "gpumask --help": [ENTRY, "--help"],
    "gpumask create --help": [ENTRY, "create", "--help"],
    "python -c 'import gpumask'": ["import gpumask"],
    "python -c 'import numpy'": ["import numpy"],
}


def tables(box):
    cases = []
    for name, code in COMMANDS.items():
        command = [sys.executable, "-c", *code]
        subprocess.run(command, check=True, capture_output=True)
        cases.append(Case(name, lambda c=command: subprocess.run(c, check=True, capture_output=True), None, 21))
    yield Table("Start of a process", cases, "python -c 'import argparse'", note="Target: --help within 1.5 of it.")
