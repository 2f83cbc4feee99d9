"""The command line: parse → job → print. Nothing third-party is imported before a verb runs, and no verb but the one
that was asked for."""

import argparse
import importlib
import os
import sys

VERBS = {
    "create": "make a soft mask from a map",
    "combine": "masks into one, bodies of a particle, symmetry, masks laid on maps",
    "inspect": "header, statistics, and what a mask measures",
    "spectrum": "what masks do in Fourier space, compared",
    "fsc": "Fourier shell correlation of half maps, and what to distrust in it",
    "sharpen": "the mean of half maps, weighted, sharpened and low-passed",
    "sweep": "many masks of a map compared: a table of dilations, edges and thresholds",
    "advise": "which mask to take for a goal, and why the others lose",
    "segment": "regions of a map by watershed, grouped by smoothing",
    "regions": "list, select, group, hide, undo and export the regions of a map",
    "shape": "make a geometric mask with a soft edge",
    "model": "masks and densities of atomic models, and what a model holds",
    "filter": "low-pass, high-pass, B-factor or Gaussian of a map",
    "resample": "lay a map or mask on the grid of another",
    "grid": "crop, pad, rescale, shift, flip a map or mask",
    "compare": "whether two files are on one grid, and what mends it",
    "fulcrum": "the point that a local refinement turns about",
    "batch": "any of create, spectrum and fsc for every map of a list",
    "slurm": "print a script for sbatch that runs such a batch on many nodes",
    "demo": "a full run on a simulated particle",
    "doctor": "what this machine has, which device will be used, and why",
    "bench": "time this machine against other programs",
}
BY_ARGUMENTS = ("batch", "slurm")  # whose options depend on what they are to run
INTERRUPTED = 130


def main(argv=None):
    """Run ``gpumask ARGV`` and return the exit code: 0 done, 2 usage, 3 input refused, 4 the demanded device is not
    there, 5 could not write or out of memory, 130 interrupted."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without Å, a file name that is not UTF-8
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = _Told(sys.stdout, BrokenPipeError), _Told(sys.stderr, OSError)
    try:
        code = _told(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    finally:
        sys.stdout, sys.stderr = before


def _told(argv):
    """Run, and say in one line why it could not be done."""
    from gpumask.cli import terminal
    from gpumask.errors import GpumaskError

    try:
        return _run(argv)
    except GpumaskError as error:
        print(f"gpumask: {terminal.in_flags(str(error))}", file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(f"gpumask: out of memory: {error}; use a smaller box or a larger machine", file=sys.stderr)
        return 5
    except KeyboardInterrupt:
        print("gpumask: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(argv):
    try:
        arguments = _parser(argv).parse_args(argv)
    except SystemExit as stop:  # argparse has printed what was wrong, or the help
        return stop.code or 0
    return arguments.run(arguments) or 0


def _open_closed():
    """Give streams that were closed before the start (``2>&-``) a place: else files that are opened would take theirs,
    and what is meant for people would be written into them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)
            setattr(sys, name, os.fdopen(handle, mode))


class _Told:
    """A stream whose reader may go, as in ``gpumask inspect map.mrc | head -1``: after an error of the kind `gone` the
    work goes on unheard."""

    def __init__(self, stream, gone):
        self.stream, self.gone = stream, gone

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        return self._or_nothing(self.stream.write, text)

    def flush(self):
        self._or_nothing(self.stream.flush)

    def _or_nothing(self, function, *given):
        try:
            return function(*given)
        except self.gone:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def _parser(argv):
    parser = argparse.ArgumentParser(
        prog="gpumask",
        formatter_class=_Formatter,
        description="Soft masks for cryo-EM maps, exact and fast.",
        epilog="Lengths are 5px, 7A (or 7Å), or a bare number of pixels; resolutions and Gaussian widths are in Å. "
        "Exit codes: 0 done, 2 usage, 3 input refused, 4 device not there, 5 could not write or out of memory, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, purpose in VERBS.items():
        verb = verbs.add_parser(name, help=purpose, formatter_class=_Formatter)
        if name == wanted:
            given = (verb, argv) if name in BY_ARGUMENTS else (verb,)
            importlib.import_module(f"gpumask.cli.{name}").fill(*given)
    return parser


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal, without the import of shutil that argparse would ask it with."""

    def __init__(self, prog):
        try:
            columns = os.get_terminal_size().columns
        except OSError:
            columns = 80
        super().__init__(prog, width=columns - 2)


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        from gpumask import __version__

        print(f"gpumask {__version__}")
        parser.exit()
