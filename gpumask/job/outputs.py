"""Names of what a job writes, and what may not be written over."""

import csv
import io as streams
import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from gpumask import io
from gpumask.errors import UsageError, WriteFailed

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

MAP_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec")


def named(output, *beside):
    """The path of an output; refused where it is a folder, or ends as one of the files that are written beside it."""
    output = Path(output)
    if not output.name:
        raise WriteFailed(f"{output}: is a folder; give the name of a file")
    if output.suffix.lower() in beside:
        raise UsageError(f"{output}: needs a name of its own beside its {' and '.join(beside)}; use .mrc")
    return output


def check(outputs, inputs, overwrite):
    """Raise where an output cannot be written, is an input, or has the name of another."""
    real = [os.path.realpath(path) for path in outputs]
    for place, path in enumerate(outputs):
        if real[place] in real[:place]:
            raise UsageError(f"{path}: two outputs have this name; give one of them another")
        io.check_output(path, overwrite)
        for source in inputs:
            if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
                raise UsageError(f"{path}: is an input; give the output another name")


def beside(output, suffix):
    """``mask.json`` for ``mask.mrc``; a suffix that no map has belongs to the name."""
    stem = output.stem if output.suffix.lower() in MAP_SUFFIXES else output.name
    return output.with_name(stem + suffix)


def figure_format(path):
    """The format that a figure's name asks for; refused where it cannot be drawn."""
    from gpumask.report import canvas

    form = path.suffix.lower().removeprefix(".")
    if form not in canvas.FORMATS:
        raise UsageError(f"{path}: a figure is written as .{', .'.join(canvas.FORMATS)}; give it such a name")
    check_drawing()
    return form


def check_drawing():
    """Refuse figures where matplotlib is missing: to be said before the work."""
    from gpumask.report import canvas

    canvas.new(1, 1)


@contextmanager
def alone(folder):
    """While this lasts, other programs that want to be alone in the folder wait. File systems that cannot lock a folder
    are left as they are."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def folder(path):
    """A folder for outputs, made where it is not there; what was made is gone again where the work in it fails."""
    path = Path(path)
    made = [part for part in (path, *path.parents) if not part.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{path}: cannot be made: {error.strerror}; give another folder with -o") from error
    try:
        yield path
    except BaseException:
        for part in made:
            try:
                part.rmdir()
            except OSError:  # another program has put a file into it
                break
        raise


def document(values):
    """The bytes of a JSON file."""
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def table(rows):
    """The bytes of a CSV file with a line of names; None is an empty field, floats read back as they are."""
    stream = streams.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()
