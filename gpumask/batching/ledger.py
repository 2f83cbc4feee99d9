"""``results.jsonl``: a row for every attempt that came to an end, and what follows from the rows of earlier runs.

One process appends, a whole line with one write, which is then fsynced. The newest row of an output counts. A line that
a crash cut short is taken off.
"""

import json
import os
import re
from pathlib import Path

from gpumask import io
from gpumask.errors import InputRefused, WriteFailed

KEYS = (
    "input",
    "output",
    "status",
    "error",
    "recipe_hash",
    "input_fingerprint",
    "seconds",
    "bytes_read",
    "bytes_written",
    "metrics",
)
STATES = ("done", "failed", "skipped")
NAME = re.compile(r"results(?:\.\d+-of-\d+)?\.jsonl")


def names(folder, shard=None):
    """The ledger, the lock and the list of owned outputs of a run: ``results.jsonl``, ``results.lock``,
    ``results.outputs``; of shard I of N ``results.I-of-N.jsonl`` …"""
    return tuple(Path(folder) / f"results{tag(shard)}.{suffix}" for suffix in ("jsonl", "lock", "outputs"))


def tag(shard):
    """What the names of a shard's files have in them."""
    return "" if shard is None else f".{shard[0]}-of-{shard[1]}"


def all_of(folder):
    """Every ledger in a folder: that of whole lists first, then those of shards by number."""
    found = [path for path in Path(folder).glob("results*.jsonl") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)][::-1])


def read(path):
    """``{line: output}`` of the rows of a ledger, and how many lines are none; the half of a last line is left out."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return {}, 0
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read: {error.strerror}; a batch needs to know what is done") from error
    found, bad = {}, 0
    for text in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            row = json.loads(text)
            if set(row) != set(KEYS) or row["status"] not in STATES:
                raise ValueError
            found[text] = row["output"]
        except (ValueError, TypeError, KeyError):
            bad += 1
    return found, bad


def owned(folder):
    """Names of outputs, relative to the folder, that its batches have written or were about to."""
    found = set()
    for path in Path(folder).glob("results*.outputs"):
        data = path.read_bytes()
        found |= {json.loads(text) for text in data[: data.rfind(b"\n") + 1].splitlines()}
    return found


def line(row):
    """A row as the bytes of its line."""
    return (json.dumps({key: row[key] for key in KEYS}, allow_nan=False, separators=(",", ":")) + "\n").encode()


def merge(folder):
    """Join the ledgers of shards into ``results.jsonl``, once each row, and remove what was theirs alone."""
    ledger, _, owned = names(folder)
    paths, lines, outputs = all_of(folder), {}, []
    for path in paths:
        lines |= read(path)[0]
    listed = sorted(Path(folder).glob("results*.outputs"))
    for path in listed:
        outputs += [text for text in path.read_bytes().splitlines(keepends=True) if text.endswith(b"\n")]
    io.write_files([(ledger, list(lines)), (owned, list(dict.fromkeys(outputs)))], overwrite=True)
    for path in (*paths, *listed, *Path(folder).glob("summary.*-of-*.*")):
        if path not in (ledger, owned):
            path.unlink()


class Ledger:
    """The rows of a folder.

    Attributes
    ----------
    newest : dict
        ``{output: [line, …]}``: of each ledger that has it the newest row, as it is written, which takes a fifth of the
        memory of its values.
    owned : set of str
        Names of outputs, relative to the folder, that batches of this folder may replace.
    notes : list of str
    """

    def __init__(self, folder, shard=None):
        self.folder = Path(folder)
        self.path, _, self.owned_path = names(folder, shard)
        self.newest, self.owned, self.notes = {}, owned(folder), []
        self.handle = None
        for path in all_of(folder):
            lines, bad = read(path)
            if bad:
                self.notes.append(f"{path}: {bad} lines are no rows and do not count; their items are done again")
            for output, text in {output: text for text, output in lines.items()}.items():
                self.newest.setdefault(output, []).append(text)

    def row(self, output):
        """The newest row of an output that has one."""
        return json.loads(self.newest[output][-1])

    def standing(self, item, fingerprint):
        """``done``, ``failed`` or ``skipped`` where a row about the same input, recipe and output still holds, else
        None: the item is to be done."""
        states = {
            row["status"]
            for row in map(json.loads, self.newest.get(item.output, []))
            if row["recipe_hash"] == item.recipe_hash
            and row["input_fingerprint"] == fingerprint
            and (row["status"] != "done" or self._present(row))
        }
        return next((state for state in STATES if state in states), None)

    def _present(self, row):
        try:
            return all((self.folder / name).stat().st_size == size for name, size in row["metrics"]["files"].items())
        except (OSError, KeyError, TypeError, AttributeError):
            return False

    def open(self):
        """Make ready to append; what a crash left of a line is cut off."""
        self.handle, cut = _opened(self.path)
        if cut:
            self.notes.append(
                f"{self.path}: its last line was cut short by a crash and is gone; its item is done again"
            )

    def own(self, outputs):
        """Put names on record before they are first written: a crash may leave them without a row."""
        new = [output for output in outputs if output not in self.owned]
        if new:
            self.owned |= set(new)
            handle, _ = _opened(self.owned_path)
            try:
                self._write(handle, self.owned_path, "".join(json.dumps(name) + "\n" for name in new).encode())
            finally:
                os.close(handle)

    def append(self, row):
        """Add a row; it is on the disk when this returns."""
        text = line(row)
        self._write(self.handle, self.path, text)
        self.newest[row["output"]] = [text]

    def _write(self, handle, path, data):
        before = os.fstat(handle).st_size
        try:
            if os.write(handle, data) < len(data):
                raise OSError("the disk is full")
            os.fsync(handle)
        except OSError as error:
            os.ftruncate(handle, before)
            raise WriteFailed(
                f"{path}: could not be written: {error.strerror or error}; what has a row is done; run again"
            ) from error

    def close(self):
        """No more rows."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


def _opened(path):
    """A file to append to, and whether what a crash had left of a line was cut off."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(handle, whole)
    except OSError as error:
        raise WriteFailed(f"{path}: cannot be written: {error.strerror}; nothing was begun") from error
    return handle, whole < len(data)
