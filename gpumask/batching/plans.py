"""From a list to items: settings, names of outputs, fingerprints, memory; what cannot be is refused before the work."""

import math
import os
import stat
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from gpumask import io, residues, units
from gpumask.batching import fingerprint, lists
from gpumask.errors import GpumaskError, UsageError
from gpumask.job import outputs

READERS = 8  # threads that wait for the file system while headers and fingerprints are read
RESERVED = "results", "summary"
LONGEST = 255, 4095  # bytes that systems take: of one name, of a name with its folders


@dataclass
class Item:
    """One piece of work. `output` is relative to the folder of the batch; `files` are all that it writes."""

    number: int
    where: str
    input: str
    output: str
    settings: dict
    recipe_hash: str
    files: list
    shape: tuple | None = None  # (z, y, x), of the header; None where it cannot be read, which the work will say
    packed: bool = False
    needed: int = 0  # bytes at the peak of its work
    held: int = 0  # bytes while it waits, read or made
    slabs: int | None = None  # bytes to stay within where the box does not fit
    refused: str | None = None  # why it cannot be done at all


def items(rows, operation, parameters, folder):
    """The items of a list, with one output each.

    An output without a name of its own is named after its input: ``NAME_mask.mrc``, ``NAME_spectrum.json``,
    ``NAME_fsc/``. Inputs of one name in different folders take the folder's name in front.

    Raises
    ------
    UsageError
        An unknown parameter or value; outputs that meet, leave the folder, or are an input; an input that is a pipe or
        a device.
    MissingExtra
        Figures are asked for, and matplotlib is not installed; or atomic models, and gemmi is not.
    """
    if operation.name == "fsc" and parameters.get("half2") is None:
        rows = lists.once_a_pair(rows)
    found = []
    names = _default_names(rows, operation)
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        try:
            settings = operation.settings(parameters, row.parameters)
            for path in (settings[key] for key in operation.paths if settings.get(key)):
                _check_input(path)
        except GpumaskError as error:
            raise UsageError(f"{_blamed(row, rows)}{error}") from error
        try:
            output = name if row.output is None else _relative(row.output, operation)
            _check_input(row.input)
        except GpumaskError as error:
            raise UsageError(f"{row.where}: {error}") from error
        # one spelling of each, since the hash tells by them what is done already
        settings |= {key: os.path.realpath(settings[key]) for key in operation.paths if settings.get(key)}
        source = str(Path(row.input).absolute())
        files = operation.files(output, settings)
        found.append(Item(number, row.where, source, output, settings, operation.hash(settings), files))
    _check_outputs(found, operation, Path(folder))
    if any(item.settings.get("plot") for item in found):
        outputs.check_drawing()
    if any(item.settings.get("model") for item in found):
        residues.library()
    return found


def _default_names(rows, operation):
    """A name for each row; the folder's in front where the same would come twice."""
    stems = [lists.stem(row.input) for row in rows]
    count = Counter(stem for stem, row in zip(stems, rows, strict=True) if row.output is None)
    return [
        (f"{_folder(row.input)}_{stem}" if count[stem] > 1 else stem) + operation.ending
        for stem, row in zip(stems, rows, strict=True)
    ]


def _blamed(row, rows):
    """What stands before an error in the parameters of a row: nothing where no row of the list has any of its own."""
    if row.parameters:
        return f"{row.where}: "
    return f"{row.where}, without parameters of its own: " if any(other.parameters for other in rows) else ""


def _folder(path):
    """The name of the folder that a file is in, the same however the path is spelled."""
    return os.path.basename(os.path.realpath(os.path.dirname(path)))  # noqa: PTH119, PTH120


def _check_input(path):
    """Refuse what is no name, and what has no end or no second reading."""
    if "\0" in str(path):
        raise UsageError(f"input {str(path)!r} is no name of a file")
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return  # the work will say so
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UsageError(f"{path}: is a pipe or a device, no file; give the name of a file")


def _relative(output, operation):
    """An output that a row names: inside the folder, with the ending of its kind."""
    path = Path(output)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"output {output!r} must be a name inside the folder of the batch, without .. or a leading /")
    if "\0" in output or "\n" in output:
        raise UsageError(f"output {output!r} is no name of a file")
    ending = Path(operation.ending).suffix
    allowed = outputs.MAP_SUFFIXES if ending == ".mrc" else (ending,)
    if path.suffix.lower() not in allowed and ending:
        raise UsageError(f"output {output!r} must end in {' or '.join(allowed)}")
    return str(path)


def _check_outputs(found, operation, folder):
    """Refuse outputs that meet each other, the batch's own files or an input, that links lead out of the folder, or
    that no file system takes."""
    home, used, parents, inputs = Path(os.path.realpath(folder)), {}, {}, {}
    for item in found:
        for path in (item.input, *(item.settings[name] for name in operation.paths if item.settings.get(name))):
            inputs.setdefault(Path(os.path.realpath(path)), path)
    for item in found:
        for name in dict.fromkeys((item.output, *item.files)):
            given = home / name
            if max(len(os.fsencode(part)) for part in given.parts) > LONGEST[0] or len(os.fsencode(given)) > LONGEST[1]:
                raise UsageError(
                    f"{item.where}: the output {given} is too long; systems take {LONGEST[0]} bytes, {LONGEST[1]} with "
                    "all folders"
                )
            if given.parent not in parents:
                parents[given.parent] = Path(os.path.realpath(given.parent))
            real = parents[given.parent] / given.name
            real = Path(os.path.realpath(real)) if real.is_symlink() else real
            if home not in real.parents:
                raise UsageError(
                    f"{item.where}: the output {name} lies outside {folder}, where a link leads; remove it"
                )
            if real.parent == home and real.name.partition(".")[0] in RESERVED:
                raise UsageError(f"{item.where}: the output {name} is a file of the batch itself; give another name")
            if real in used:
                raise UsageError(_meeting(item, name, used[real]))
            if real in inputs:
                raise UsageError(f"{item.where}: the output {name} is the input {inputs[real]}; give another folder")
            used[real] = item
    for real, item in used.items():
        for above in real.parents:
            if above == home:
                break
            if used.get(above, item) is not item:
                raise UsageError(
                    f"{item.where}: the output {real.relative_to(home)} lies in what is an output of "
                    f"{used[above].where}; give another name"
                )


def _meeting(item, name, other):
    """Why two items cannot have one output."""
    named = "name outputs in a column `output` of a CSV list, or by a key `output` in Python"
    if os.path.realpath(item.input) == os.path.realpath(other.input):
        return f"{item.where}: the input {item.input} is that of {other.where} too; name it once, or {named}"
    return f"{item.where}: the output {name} is that of {other.where} too; {named}"


def fingerprints(found, operation):
    """The fingerprint of each item's inputs, None where one cannot be read."""

    def one(item):
        try:
            return fingerprint.of(operation.inputs(item.input, item.settings))[0]
        except GpumaskError:
            return None

    return _each(one, found)


def measure(found, operation, budget, workers):
    """Fill in what the headers say: shape and memory; choose slabs, or refuse, where a box does not fit `budget`."""

    grids = {}  # those of references, which many items share

    def one(item):
        try:
            options = {name: item.settings.get(name) for name in ("voxel_size", "nan_to")}
            source = io.Slabs(item.input, **options)
            like = item.settings.get("like")
            if like is not None and like not in grids:
                grids[like] = io.Slabs(like)
        except GpumaskError:
            return
        voxels = math.prod(source.shape)
        item.shape, item.packed = source.shape, source.trailing is None
        item.held = voxels * max(source.dtype.itemsize, 4)
        item.needed = operation.bytes_needed(source.shape, source.voxel_size, item.settings)
        item.needed += voxels * (source.dtype.itemsize if source.dtype != "<f4" else 0)
        if like is not None:  # the mask is on another grid than the map
            item.needed += operation.bytes_needed(grids[like].shape, grids[like].voxel_size, item.settings)
            item.held += 4 * math.prod(grids[like].shape)

    _each(one, found)
    for item in found:
        if budget is not None and item.needed > budget:
            _make_fit(item, operation, budget, workers)


def _each(function, found):
    """``function(item)`` of each item, by threads that an interrupt does not wait for: a file system may hang."""
    waiting, results = SimpleQueue(), SimpleQueue()
    for one in (*enumerate(found), *[None] * READERS):
        waiting.put(one)

    def reader():
        for number, item in iter(waiting.get, None):
            try:
                results.put((number, function(item), None))
            except BaseException as error:
                results.put((number, None, error))

    for _ in range(READERS):
        threading.Thread(target=reader, daemon=True).start()
    values = [None] * len(found)
    for _ in found:
        number, value, error = results.get()
        if error is not None:
            raise error
        values[number] = value
    return values


def _make_fit(item, operation, budget, workers):
    text = (
        f"{item.input}: a box of {units.by(item.shape)} voxels needs {units.of_bytes(item.needed)}, "
        f"{units.of_bytes(budget)} may be used"
    )
    if (why := operation.whole_box(item.settings)) is not None:
        item.refused = f"{text}, and {why}; use a machine with more memory"
    elif item.packed:
        item.refused = f"{text}; unpack the file, so that it can be read in slabs"
    else:
        item.slabs = budget // workers
        item.needed, item.held = item.slabs, 0
