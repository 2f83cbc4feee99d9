"""What a batch is to do: rows from a text file, a CSV or STAR table, a glob, a folder, or Python values."""

import contextlib
import csv
import glob
import io as streams
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from gpumask import star
from gpumask.errors import InputNotFound, UsageError
from gpumask.job.inputs import other_half
from gpumask.job.outputs import MAP_SUFFIXES

PACKED = (".gz", ".bz2")
HALVES = {"rlnUnfilteredMapHalf1": "half1", "rlnUnfilteredMapHalf2": "half2"}
MASKED = {"rlnMaskName": "mask", **HALVES}
RELION = {"map": {"rlnReferenceImage": "map"}, "mask": MASKED, "half1": MASKED}  # by the name of the input
DIVIDERS = {".csv": (",", "commas"), ".tsv": ("\t", "tabs")}  # of the fields of tables
ABOVE = re.compile(r"(?:[ \t\r]*(?:#[^\n]*)?\n)*")  # comments and blank lines
PATHS = ("like", "half1", "half2", "mask", "reference", "recipe", "model")  # parameters that name a file


class Row(NamedTuple):
    """One item as it was asked for."""

    where: str  # "list.csv, row 3", for messages
    input: str
    output: str | None
    parameters: dict
    found: bool = False  # in a folder or by a glob, not named


def read(source, inputs):
    """The rows of a list.

    Parameters
    ----------
    source : str, Path or list
        A folder (its maps, not those of folders in it), a glob, a ``.csv``, ``.tsv`` or ``.star`` table, any other
        file as text with a path a line (blank lines and lines with ``#`` in front do not count), or a list of paths and
        of dicts.
    inputs : tuple of str
        Names that the column with the input may have.

    Returns
    -------
    list of Row
        In the order of the table; folders and globs by name. Relative names in a list, those in PATHS too, count from
        the current folder, or, where none of them is there, from that of the list.
    """
    if not isinstance(source, (str, Path)):
        return [_of_value(value, f"item {number}", inputs) for number, value in enumerate(source, 1)]
    path = Path(source)
    if path.is_dir():
        return _of_paths(sorted(found for found in path.iterdir() if _is_map(found)), source)
    if is_pattern(source):
        return _of_paths(
            sorted(found for found in glob.glob(str(source), recursive=True) if Path(found).is_file()),  # noqa: PTH207
            source,
        )
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputNotFound(
            f"{path}: cannot be read as a list: {error.strerror}; give a list, a folder or a glob"
        ) from error
    if "\0" in text:
        raise UsageError(f"{path}: is no list but binary; give a list of maps, a folder or a glob in quotes")
    if path.suffix.lower() in DIVIDERS:
        rows = _of_table(path, text, inputs)
    elif path.suffix.lower() == ".star":
        rows = _of_star(path, text, inputs)
    else:
        lines = [line.strip(" \t\r") for line in text.split("\n")]
        rows = [Row(f"{path}, line {n}", line, None, {}) for n, line in enumerate(lines, 1) if line and line[0] != "#"]
    if not rows:
        raise UsageError(f"{path}: names no input")
    return _placed(rows, path.parent)


def is_pattern(source):
    """Whether a list is what lies in a folder, or what a glob matches, at the moment."""
    if not isinstance(source, (str, Path)):
        return False
    return Path(source).is_dir() or (not Path(source).exists() and glob.has_magic(str(source)))


def stem(path):
    """The name of a map without folder, compression and the suffix of a map."""
    name = Path(path).name
    for suffixes in (PACKED, MAP_SUFFIXES):
        suffix = Path(name).suffix
        name = name.removesuffix(suffix) if suffix.lower() in suffixes else name
    return name


def once_a_pair(rows):
    """The rows without those that were found, not named, and are the other half map of one before them."""
    kept, seen = [], set()
    for row in rows:
        if row.found:
            with contextlib.suppress(InputNotFound, UsageError):  # the work will say so
                if other_half(row.input) in seen:
                    continue
            seen.add(Path(row.input))
        kept.append(row)
    return kept


def _is_map(path):
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name.endswith(MAP_SUFFIXES) and path.is_file() and path.name[0] != "."


def _of_paths(paths, source):
    if not paths:
        raise UsageError(f"{source}: holds no map ({', '.join(MAP_SUFFIXES)}, packed or not)")
    return [Row(str(path), str(path), None, {}, found=True) for path in paths]


def _of_value(value, where, inputs):
    if isinstance(value, dict):
        return _row(dict(value), where, inputs)
    if not isinstance(value, (str, Path)):
        raise UsageError(f"{where}: must be a path or a dict with one, got {value!r}")
    return Row(where, str(value), None, {})


def _of_table(path, text, inputs):
    divider, word = DIVIDERS[path.suffix.lower()]
    above = ABOVE.match(text).end()
    table = csv.DictReader(streams.StringIO(text[above:], newline=""), delimiter=divider, strict=True)
    rows = []
    try:
        names = table.fieldnames or []
        _check_columns(names, path)
        if names and not {_parameter(name) for name in names} & {"input", *inputs}:
            divided = any(other in name for other in ",;\t" for name in names)
            raise UsageError(
                f"{path}: {_wanted(inputs)}, got the columns {', '.join(map(repr, names))}"
                + f"; fields are divided by {word} in {path.suffix}" * divided
            )
        for number, values in enumerate(table, 1):
            where = f"{path}, row {number}"
            if None in values or None in values.values():
                raise UsageError(f"{where}: has more or fewer fields than the line of names")
            rows.append(_row(values, where, inputs))
    except csv.Error as error:
        line = text.count("\n", 0, above) + table.line_num + 1  # after the last that could be read
        raise UsageError(f"{path}, line {line}: not {path.suffix[1:].upper()}: {error}") from error
    return rows


def _of_star(path, text, inputs):
    relion = {label: name for wanted in inputs for label, name in RELION[wanted].items()}
    blocks = star.loads(text.replace("\r\n", "\n"))
    loops = [(n, {label: v for label, v in block.items() if isinstance(v, list)}) for n, block in blocks.items()]
    pairs = [(n, {label: [v] for label, v in block.items() if isinstance(v, str)}) for n, block in blocks.items()]
    for block, table in (*loops, *pairs):
        names = {label: relion.get(label, label) for label in table if label in relion or not label.startswith("rln")}
        if set(names.values()) & {"input", *inputs}:
            _check_columns(names.values(), path)
            columns = [table[label] for label in names]
            if len({len(column) for column in columns}) > 1:
                raise UsageError(f"{path}: data_{block} has loops of different lengths; leave the one with the inputs")
            return [
                _row(dict(zip(names.values(), row, strict=True)), f"{path}, row {n}", inputs)
                for n, row in enumerate(zip(*columns, strict=True), 1)
            ]
    wanted = ("input", *inputs, *(label for label, name in relion.items() if name in inputs))
    raise UsageError(f"{path}: has no loop and no single value with the name _{' or _'.join(wanted)}")


def _check_columns(names, path):
    count = Counter(_parameter(name) for name in names)
    twice = [name for name, number in count.items() if name and number > 1]
    if twice:
        raise UsageError(f"{path}: has more than one column {', '.join(twice)}; leave one")


def _wanted(inputs):
    return f"one input is wanted in a column {' or '.join(('input', *inputs))}"


def _parameter(name):
    """The parameter of a column, which may be named as its flag."""
    return str(name).strip().replace("-", "_")


def _row(values, where, inputs):
    """A row from named values; those that are empty are not given."""
    given = {}
    for name, value in values.items():
        value = value.strip() if isinstance(value, str) else value
        if value is not None and value != "":
            given[_parameter(name)] = value
    named = [name for name in ("input", *inputs) if name in given]
    if len(named) != 1:
        raise UsageError(f"{where}: {_wanted(inputs)}, got {len(named)}; given are {', '.join(given) or 'none'}")
    source, output = given.pop(named[0]), given.pop("output", None)
    return Row(where, str(source), None if output is None else str(output), given)


def _names(row):
    """Every file that a row names as an input."""
    return [row.input, *(row.parameters[name] for name in PATHS if name in row.parameters)]


def _placed(rows, folder):
    """The rows, relative to the folder of their list where not one of their files is there from the current one."""
    relative = [name for row in rows for name in _names(row) if not Path(name).is_absolute()]
    if any(Path(name).exists() for name in relative) or not any((folder / name).exists() for name in relative):
        return rows
    placed = []
    for row in rows:
        moved = {name: str(folder / row.parameters[name]) for name in PATHS if name in row.parameters}
        placed.append(row._replace(input=str(folder / row.input), parameters=row.parameters | moved))
    return placed
