"""gpumask slurm LIST -o DIR"""

import shlex
import sys
from pathlib import Path

from gpumask.cli import batch, options
from gpumask.errors import UsageError

GRACE = 60  # s before the time is up at which SLURM's signal comes: items under way are given up, the summary written
KINDS = {"gpus": ("auto", "cuda"), "tasks": ("auto", "cpu")}  # devices that tasks with and without a GPU may be told


def fill(parser, argv):
    verb = batch.verb_of(argv)
    parser.description = (
        "Print a script for sbatch: an array of tasks, each of which does its share of the list, and goes on where it "
        "was when it is submitted again. Give the options of gpumask batch."
    )
    parser.epilog = (
        "Example: gpumask slurm maps.star -o masks --gpus 4 --time 2:00:00 --threshold 3sigma --dilate 5px > masks.sh; "
        "sbatch masks.sh"
    )
    batch.add(parser, merge=False)
    group = parser.add_argument_group("SLURM")
    group.add_argument("--gpus", metavar="N", type=int, help="N tasks with a GPU each")
    group.add_argument("--tasks", metavar="N", type=int, help="N tasks without a GPU")
    group.add_argument("--cpus", metavar="N", type=int, default=8, help="CPUs of each task (default 8)")
    group.add_argument("--time", metavar="TIME", help="as of sbatch, such as 2:00:00")
    group.add_argument("--partition", metavar="NAME", help="as of sbatch")
    group.add_argument("--account", metavar="NAME", help="as of sbatch")
    group.add_argument("--mem", metavar="SIZE", help="memory of each task, as of sbatch: 32G")
    batch.share(parser, verb)
    parser.set_defaults(run=run)


def run(arguments):
    from gpumask.batching import operations, runs

    counts = [number for number in (arguments.gpus, arguments.tasks) if number is not None]
    if len(counts) != 1 or counts[0] < 1 or arguments.cpus < 1:
        raise UsageError("give --gpus N or --tasks N, and --cpus, each at least 1")
    for name in ("time", "partition", "account", "mem"):
        value = getattr(arguments, name)
        if (
            value is not None
            and not value.replace(":", "").replace("-", "").replace("_", "").replace(".", "").isalnum()
        ):
            raise UsageError(f"--{name} must be a word as sbatch knows it, got {value!r}")
    kind = "gpus" if arguments.gpus is not None else "tasks"
    if arguments.device is not None and arguments.device not in KINDS[kind]:
        raise UsageError(f"--{kind} wants --device {' or '.join(KINDS[kind])}, got {arguments.device}; leave it out")
    options.memory(arguments.memory)
    runs.planned(
        batch.one_list(arguments), Path(arguments.output), operations.of(arguments.do), batch.parameters(arguments)
    )
    print(script(arguments, counts[0]), end="")


def script(arguments, tasks):
    """The text for sbatch."""
    program = Path(sys.executable).with_name("gpumask")
    program = str(program) if program.exists() else "gpumask"
    directives = [
        "#SBATCH --job-name=gpumask",
        f"#SBATCH --array=1-{tasks}",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={arguments.cpus}",
        *(["#SBATCH --gres=gpu:1"] if arguments.gpus is not None else []),
        *(
            f"#SBATCH --{name}={value}"
            for name in ("time", "partition", "account", "mem")
            if (value := getattr(arguments, name)) is not None
        ),
        "#SBATCH --output=gpumask-%A_%a.log",
        "#SBATCH --open-mode=append",
        f"#SBATCH --signal=B:TERM@{GRACE}",
    ]
    device = arguments.device or ("cuda" if arguments.gpus is not None else "cpu")
    words = [
        batch.one_list(arguments),
        f"--output={arguments.output}",
        f"--do={arguments.do}",
        f"--device={device}",
    ]
    words += [f"--{name}={value}" for name in ("workers", "memory") if (value := getattr(arguments, name)) is not None]
    flags = {"retry_failed": "--retry-failed", "force": "--force", "dense": "--dense"}
    words += [flag for name, flag in flags.items() if getattr(arguments, name)]
    words += batch.words(arguments)
    if (unprintable := next((word for word in words if not word.isprintable()), None)) is not None:
        raise UsageError(
            f"{unprintable!r} cannot stand in a script: it has line breaks or other signs that do not print"
        )
    merge = shlex.join([program, "batch", "--merge", f"--output={arguments.output}"])
    cache = []
    if arguments.gpus is not None:
        cache = ["# compiled kernels: on a disk of the node, not on one that all nodes share",
                 'export CUPY_CACHE_DIR="${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/gpumask-cupy-${USER:-user}"']  # fmt: skip
    lines = [
        "#!/bin/bash",
        *directives,
        "#",
        "# Submitted again it goes on where it was. When all tasks have ended, one ledger and one summary of all:",
        f"#   {merge}",
        "",
        "set -euo pipefail",
        'cd "${SLURM_SUBMIT_DIR:-.}"',
        *cache,
        "# exec: the signal before the time is up reaches gpumask itself",
        f"exec {shlex.quote(program)} batch \\",
        *(f"    {shlex.quote(word)} \\" for word in words),
        f'    --shard="$SLURM_ARRAY_TASK_ID/{tasks}"',
    ]
    return "\n".join(lines) + "\n"
