"""What the verbs print: one JSON document or lines for people; progress and warnings on stderr."""

import sys
import time

PATIENCE = 2.0  # s
CLEAR = "\r\x1b[K"  # back to the start of the line, and empty it


class Progress:
    """Names each step as it begins: rewriting one line on a terminal, plain lines in a log.

    In a log it is silent until PATIENCE seconds have passed, since short work needs no report.
    """

    def __init__(self):
        self.start = time.perf_counter()
        self.live = sys.stderr.isatty()
        self.shown = False

    def __call__(self, name):
        elapsed = time.perf_counter() - self.start
        if elapsed >= PATIENCE or self.live:
            self.shown = True
            start, end = (CLEAR, "") if self.live else ("", "\n")
            print(f"{start}{elapsed:6.1f} s  {name} ...", file=sys.stderr, end=end, flush=True)

    def done(self):
        if self.live and self.shown:
            print(CLEAR, file=sys.stderr, end="", flush=True)


def document(values):
    """The one JSON document of ``--json``."""
    import json

    print(json.dumps(values, indent=2, allow_nan=False))


def table(rows):
    """Two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def warn(texts):
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)


def by(triple, form=""):
    """[x, y, z] as ``x x y x z``."""
    return " x ".join(format(n, form) for n in triple)


def voxel(size):
    """[x, y, z] in Å, once where the voxels are cubes."""
    return f"{size[0]:.5g} Å" if max(size) - min(size) < 1e-6 * max(size) else f"{by(size, '.5g')} Å"
