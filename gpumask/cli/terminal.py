"""What the verbs print: one JSON document or lines for people; progress and warnings on stderr."""

import re
import sys
import threading
import time

# Parameters of the library that errors and warnings name, where the command line has a flag; not in names of files.
PARAMETERS = re.compile(r"(?<![\w./-])(assume_unmasked|b_factor|nan_to|mtf_pixel_size)(?![\w./-])(=?)")
FLAGS = {"mtf_pixel_size": "mtf-voxel-size"}
PATIENCE = 2.0  # s
AGAIN = 10.0  # s between two lines of a log about one step
CLEAR = "\r\x1b[K"  # back to the start of the line, and empty it


class Progress:
    """Names each step as it begins, with a bar and the time that is left where a step tells its share.

    On a terminal one line is rewritten. In a log nothing is said for PATIENCE seconds, since short work needs no
    report; from then on each step has its line, the one under way first; one that tells its share has another every
    AGAIN seconds.
    """

    def __init__(self):
        self.begun = self.step_begun = time.perf_counter()
        self.live = sys.stderr.isatty()
        self.name, self.told, self.told_at = None, None, 0.0
        self.timer = threading.Timer(PATIENCE, self._tell)
        if not self.live and PATIENCE < threading.TIMEOUT_MAX:
            self.timer.daemon = True
            self.timer.start()

    def __call__(self, name, share=None):
        now = time.perf_counter()
        if name != self.name:
            self.name, self.step_begun = name, now
        left = "" if not share else f", {(now - self.step_begun) * (1 - share) / share:.0f} s left"
        if self.live:
            bar = "" if share is None else f" [{'#' * int(20 * share):<20}]"
            print(f"{CLEAR}{now - self.begun:6.1f} s  {name}{bar}{left}", file=sys.stderr, end="", flush=True)
        elif now - self.begun >= PATIENCE:
            again = left and self.name == self.told and now - self.told_at >= AGAIN
            self._tell(f" {share:.0%}{left}" if again else "")

    def _tell(self, more=""):
        if more or self.name != self.told:
            self.told, self.told_at = self.name, time.perf_counter()
            print(f"{self.told_at - self.begun:6.1f} s  {self.name}{more}", file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
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


def columns(head, rows):
    """Rows of a name and numbers in Å under their heads; None is a dash."""
    names = [name for name, _ in rows]
    width = max(map(len, names))
    cells = [["-" if value is None else f"{value:.2f}" for value in values] for _, values in rows]
    across = max(len(text) for row in [head, *cells] for text in row) + 2
    print(" " * width + "".join(f"{text:>{across}}" for text in head))
    for name, row in zip(names, cells, strict=True):
        print(f"{name:<{width}}" + "".join(f"{text:>{across}}" for text in row))


def warn(texts):
    """Each text as a line on stderr, parameters of the library named as the flags they are."""
    for text in texts:
        print(f"warning: {in_flags(text)}", file=sys.stderr)


def flags(found):
    """What an FSC is to be distrusted for."""
    warn(f"{flag['code']}: {flag['message']}" for flag in found)


def resolution(angstrom, curve, masked):
    """A resolution at 0.143 with the curve that it is of."""
    of = {
        "corrected_predicted": f"FSC corrected for {'the' if masked else 'a tight'} mask",
        "masked": "FSC under the mask, not corrected",
        "tight": "FSC under a tight mask, not corrected",
        "unmasked": "unmasked FSC",
    }
    return f"{'none' if angstrom is None else format(angstrom, '.2f') + ' Å'}: {of[curve]} at 0.143"


def in_flags(text):
    """A text of the library in the words of the command line: ``assume_unmasked`` is ``--assume-unmasked`` here."""

    def flag(match):
        name = FLAGS.get(match[1], match[1].replace("_", "-"))
        return f"--{name}{' ' * len(match[2])}"

    return PARAMETERS.sub(flag, text)


def verdict(edge, minimum, size, power_db=None, resolution=None):
    """:func:`gpumask.mask.verdict_line`, and where there is none how to get it; `size` is [x, y, z] in Å."""
    from gpumask import mask

    line = mask.verdict_line(edge, minimum, size[::-1], power_db, resolution)
    return line if mask.verdict(edge, minimum) else f"{line} (give one: --resolution 3.5A)"


def by(triple, form=""):
    """[x, y, z] as ``x x y x z``."""
    return " x ".join(format(n, form) for n in triple)


def voxel(size):
    """[x, y, z] in Å, once where the voxels are cubes."""
    return f"{size[0]:.5g} Å" if max(size) - min(size) < 1e-6 * max(size) else f"{by(size, '.5g')} Å"
