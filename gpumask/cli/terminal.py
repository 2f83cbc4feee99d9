"""What the verbs print: one JSON document or lines for people; progress and warnings on stderr."""

import sys
import threading
import time

PATIENCE = 2.0  # s
CLEAR = "\r\x1b[K"  # back to the start of the line, and empty it


class Progress:
    """Names each step as it begins, with a bar and the time that is left where a step tells its share.

    On a terminal one line is rewritten. In a log nothing is said for PATIENCE seconds, since short work needs no
    report; from then on each step has its line, the one under way first.
    """

    def __init__(self):
        self.begun = self.step_begun = time.perf_counter()
        self.live = sys.stderr.isatty()
        self.name, self.told = None, None
        self.timer = threading.Timer(PATIENCE, self._tell)
        if not self.live and PATIENCE < threading.TIMEOUT_MAX:
            self.timer.daemon = True
            self.timer.start()

    def __call__(self, name, share=None):
        now = time.perf_counter()
        if name != self.name:
            self.name, self.step_begun = name, now
        if self.live:
            left = "" if not share else f", {(now - self.step_begun) * (1 - share) / share:.0f} s left"
            bar = "" if share is None else f" [{'#' * int(20 * share):<20}]"
            print(f"{CLEAR}{now - self.begun:6.1f} s  {name}{bar}{left}", file=sys.stderr, end="", flush=True)
        elif now - self.begun >= PATIENCE:
            self._tell()

    def _tell(self):
        if self.name != self.told:
            self.told = self.name
            print(f"{time.perf_counter() - self.begun:6.1f} s  {self.name}", file=sys.stderr, flush=True)

    def done(self):
        self.timer.cancel()
        if self.live and self.name:
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
