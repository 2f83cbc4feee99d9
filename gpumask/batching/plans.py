"""From a list to items: settings, names of outputs, fingerprints, memory; what cannot be is refused before the work."""

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gpumask import io, units
from gpumask.batching import fingerprint, lists
from gpumask.errors import GpumaskError, UsageError
from gpumask.job.outputs import MAP_SUFFIXES

READERS = 8  # threads that wait for the file system while headers and fingerprints are read
RESERVED = "results", "summary"


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
        An unknown parameter or value; outputs that meet, leave the folder, or are an input.
    """
    found = []
    names = _default_names(rows, operation)
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        try:
            settings = operation.settings(parameters, row.parameters)
            output = name if row.output is None else _relative(row.output, operation)
        except GpumaskError as error:
            raise UsageError(f"{row.where}: {error}") from error
        paths = {key: str(Path(settings[key]).absolute()) for key in operation.paths if settings.get(key)}
        settings |= paths
        source = str(Path(row.input).absolute())
        files = operation.files(output, settings)
        found.append(Item(number, row.where, source, output, settings, operation.hash(settings), files))
    _check_outputs(found, operation, Path(folder))
    return found


def _default_names(rows, operation):
    """A name for each row; the folder's in front where the same would come twice."""
    stems = [lists.stem(row.input) for row in rows]
    count = Counter(stem for stem, row in zip(stems, rows, strict=True) if row.output is None)
    return [
        (f"{Path(row.input).absolute().parent.name}_{stem}" if count[stem] > 1 else stem) + operation.ending
        for stem, row in zip(stems, rows, strict=True)
    ]


def _relative(output, operation):
    """An output that a row names: inside the folder, with the ending of its kind."""
    path = Path(output)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"output {output!r} must be a name inside the folder of the batch, without .. or a leading /")
    if "\0" in output or "\n" in output:
        raise UsageError(f"output {output!r} is no name of a file")
    ending = Path(operation.ending).suffix
    allowed = MAP_SUFFIXES if ending == ".mrc" else (ending,)
    if path.suffix.lower() not in allowed and ending:
        raise UsageError(f"output {output!r} must end in {' or '.join(allowed)}")
    return str(path)


def _check_outputs(found, operation, folder):
    """Refuse outputs that meet each other, the batch's own files or an input, or that links lead out of the folder."""
    home, used, parents, inputs = Path(os.path.realpath(folder)), {}, {}, {}
    for item in found:
        for path in (item.input, *(item.settings[name] for name in operation.paths if item.settings.get(name))):
            inputs.setdefault(Path(os.path.realpath(path)), path)
    for item in found:
        for name in {item.output, *item.files}:
            given = home / name
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
                raise UsageError(
                    f"{item.where}: the output {name} is that of {used[real]} too; give a column `output` with names"
                )
            if real in inputs:
                raise UsageError(f"{item.where}: the output {name} is the input {inputs[real]}; give another folder")
            used[real] = item.where


def fingerprints(found, operation):
    """The fingerprint of each item's inputs, None where one cannot be read."""

    def one(item):
        try:
            return fingerprint.of(operation.inputs(item.input, item.settings))[0]
        except GpumaskError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(one, found))


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

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(one, found))
    for item in found:
        if budget is not None and item.needed > budget:
            _make_fit(item, operation, budget, workers)


def _make_fit(item, operation, budget, workers):
    text = (
        f"{item.input}: a box of {units.by(item.shape)} voxels needs {item.needed / 1e9:.3g} GB, {budget / 1e9:.3g} GB "
        "may be used"
    )
    if operation.name != "create" or item.settings["like"] is not None:
        item.refused = f"{text}, and {operation.name} needs the whole box; use a machine with more memory"
    elif item.packed:
        item.refused = f"{text}; unpack the file, so that it can be read in slabs"
    else:
        item.slabs = budget // workers
        item.needed, item.held = item.slabs, 0
