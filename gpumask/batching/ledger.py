"""``results.jsonl``: a row for every attempt that came to an end, and what follows from the rows of earlier runs.

One process appends, a whole line with one write, which is then fsynced. Of each ledger the newest row of an output
counts, and over several ledgers what :meth:`Ledger.counting` says. A line that a crash cut short is taken off.
"""

import json
import os
import re
from pathlib import Path

from gpumask import io
from gpumask.batching import fingerprint, shards
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
    """The ledger, the lock and the record of a run: ``results.jsonl``, ``results.lock``, ``results.outputs``; of shard
    I of N ``results.I-of-N.jsonl`` …"""
    return tuple(Path(folder) / f"results{shards.tag(shard)}.{suffix}" for suffix in ("jsonl", "lock", "outputs"))


def all_of(folder):
    """Every ledger in a folder, those of the runs on record last: they are the newer ones."""
    found = [path for path in Path(folder).glob("results*.jsonl") if NAME.fullmatch(path.name)]
    numbers = {path: [int(number) for number in re.findall(r"\d+", path.name)][::-1] for path in found}
    return sorted(found, key=lambda path: (path.with_suffix(".outputs").exists(), numbers[path]))


def read(path):
    """``[(place, line, output, status)]`` of the rows of a ledger, and how many lines are none; the half of a last line
    is left out."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read: {error.strerror}; a batch needs to know what is done") from error
    found, bad, place = [], 0, 0
    for text in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            row = json.loads(text)
            if set(row) != set(KEYS) or row["status"] not in STATES:
                raise ValueError
            found.append((place, text, row["output"], row["status"]))
        except (ValueError, TypeError, KeyError):
            bad += 1
        place += len(text)
    return found, bad


def made(folder):
    """Names of outputs, relative to the folder, that its batches have made or may have."""
    found = {output for path in all_of(folder) for _, _, output, status in read(path)[0] if status == "done"}
    return found.union(*map(_unfinished, shards.records(folder)))


def line(row):
    """A row as the bytes of its line."""
    return (json.dumps({key: row[key] for key in KEYS}, allow_nan=False, separators=(",", ":")) + "\n").encode()


def merge(folder):
    """Join the ledgers of shards into ``results.jsonl``, each row once, those that count last, and remove what was
    theirs alone.

    Returns
    -------
    book : Ledger
        What is there now.
    items : list of [input, output, recipe_hash]
        Of the list; where none is on record, of all rows.
    """
    path, _, record = names(folder)
    book = Ledger(folder)
    listed = shards.joined(book.records)
    items = [] if listed is None else listed.items
    hashes = {output: recipe_hash for _, output, recipe_hash in items}
    lines = {}
    for ledger in all_of(folder):
        for _, text, output, _ in read(ledger)[0]:
            lines.pop(text, None)
            lines[text] = output
    last = {output: text for text, output in lines.items()}
    for output, text in last.items():
        wanted = {"recipe_hash": hashes[output]} if output in hashes else {}
        if (counts := book.counting(output, **wanted) or text) != text:
            del lines[counts]
            lines[counts] = output
    if listed is None:
        rows = map(json.loads, {output: text for text, output in lines.items()}.values())
        items = [[row["input"], row["output"], row["recipe_hash"]] for row in rows]
    size = sum(map(len, lines))
    digest, total = (None, len(items)) if listed is None else (listed.digest, listed.total)
    known = shards.chunks(size, digest, total, items, book.unfinished - set(last))
    known.append(shards.last(book.unfinished - set(last)))
    io.write_files([(path, list(lines)), (record, known)], overwrite=True)
    for pattern in ("results.*-of-*.jsonl", "results.*-of-*.outputs", "summary.*-of-*.*"):
        for theirs in Path(folder).glob(pattern):
            theirs.unlink()
    return Ledger(folder), items


class Ledger:
    """The rows of a folder.

    Attributes
    ----------
    newest : dict
        ``{output: [line, …]}``: of each ledger that has it the newest row, as it is written, which takes a fifth of the
        memory of its values.
    records : list of shards.Record
        What runs before this one have put on record.
    unfinished : set of str
        Outputs, relative to the folder, whose files may be there though no row says so: a run was killed.
    notes : list of str
    """

    def __init__(self, folder, shard=None):
        self.folder, self.shard = Path(folder), shard
        self.path, _, self.record_path = names(folder, shard)
        self.newest, self.stands, self.notes = {}, {}, []
        self.written = {}  # output: the newest row of each ledger that is done
        self.handle = None
        self.records = shards.records(folder)
        unfinished = {one.path: _unfinished(one) for one in self.records}
        for path in all_of(folder):
            rows, bad = read(path)
            if bad:
                self.notes.append(f"{path}: {bad} lines are no rows and do not count; their items are done again")
            for output, text in {output: text for _, text, output, _ in rows}.items():
                self.newest.setdefault(output, []).append(text)
            for output, text in {output: text for _, text, output, status in rows if status == "done"}.items():
                self.written.setdefault(output, []).append(text)
            record = path.with_suffix(".outputs")
            if record in unfinished:
                begun_at = next(one.begun_at for one in self.records if one.path == record)
                unfinished[record] -= {output for place, _, output, _ in rows if place >= begun_at}
        self.unfinished = set().union(*unfinished.values())
        siblings = {one.path for one in self.records if shard and one.shard and one.shard[1] == shard[1]}
        siblings.discard(self.record_path)
        self._inherited = set().union(*(names for path, names in unfinished.items() if path not in siblings))
        self._superseded = [one.path for one in self.records if one.path not in siblings | {self.record_path}]
        self.siblings = [one for one in self.records if one.path in siblings]

    @property
    def was_killed(self):
        """Whether a run before this one did not come to its end."""
        return any(one.left is None for one in self.records)

    def counting(self, output, **wanted):
        """The line of an output that counts, None without one: over the ledgers, of the rows with the `wanted` values
        (and, where they are done, with their files there) the last that is done, else the last."""
        found = None
        for text in reversed(self.newest.get(output, ())):
            row = json.loads(text)
            if all(row[name] == value for name, value in wanted.items()):
                if row["status"] != "done":
                    found = found or text
                elif self._present(row):
                    return text
        return found

    def standing(self, item, fingerprint):
        """``done``, ``failed`` or ``skipped`` where a row about the same input, recipe and output still holds, else
        None: the item is to be done."""
        text = self.counting(item.output, recipe_hash=item.recipe_hash, input_fingerprint=fingerprint)
        if text is None:
            return None
        self.stands[item.output] = text
        return json.loads(text)["status"]

    def row(self, output):
        """The row by which an output stands, None where it is left to be done."""
        text = self.stands.get(output)
        return None if text is None else json.loads(text)

    def foreign(self, item):
        """A file in the place of one of an item's that no batch of this folder has written, or None.

        A batch's own are those of which a row that is done says size and beginning, and those that a run which was
        killed had begun.
        """
        there = [name for name in item.files if os.path.lexists(self.folder / name)]
        if not there or item.output in self.unfinished:
            return None
        known = [json.loads(text)["metrics"] for text in self.written.get(item.output, ())]
        return next((name for name in there if not self._wrote(name, known)), None)

    def _wrote(self, name, known):
        """Whether a file is what one of some rows' metrics say."""
        try:
            brief = fingerprint.brief(self.folder / name)
            return any((row["files"].get(name), row["beginnings"].get(name)) == brief for row in known)
        except (OSError, KeyError, TypeError, AttributeError):
            return False

    def _present(self, row):
        try:
            return all((self.folder / name).stat().st_size == size for name, size in row["metrics"]["files"].items())
        except (OSError, KeyError, TypeError, AttributeError):
            return False

    def open(self, found, whole, total):
        """Make ready to append, and put on record what is about to be done; what a crash left of a line is cut off.

        Parameters
        ----------
        found : list of Item
            The run's part of the list.
        whole : str
            The digest of the list.
        total : int
            How many items it has.
        """
        try:
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            data = self.path.read_bytes()
            size = data.rfind(b"\n") + 1
            if size < len(data):
                os.ftruncate(self.handle, size)
                self.notes.append(
                    f"{self.path}: its last line was cut short by a crash and is gone; its item is done again"
                )
        except OSError as error:
            raise WriteFailed(f"{self.path}: cannot be written: {error.strerror}; nothing was begun") from error
        items = [[item.input, item.output, item.recipe_hash] for item in found]
        shards.write(self.record_path, size, whole, total, items, self._inherited)
        for path in self._superseded:
            path.unlink(missing_ok=True)
        if self.shard is not None:
            mine = shards.Record(self.record_path, self.shard, size, whole, total, items, set(), None)
            self.notes += shards.differing(mine, self.siblings)

    def append(self, row):
        """Add a row; it is on the disk when this returns."""
        text, before = line(row), os.fstat(self.handle).st_size
        try:
            if os.write(self.handle, text) < len(text):
                raise OSError("the disk is full")
            os.fsync(self.handle)
        except OSError as error:
            os.ftruncate(self.handle, before)
            raise WriteFailed(
                f"{self.path}: could not be written: {error.strerror or error}; what has a row is done; run again"
            ) from error
        self.stands[row["output"]] = text
        self._inherited.discard(row["output"])

    def end(self):
        """The run has come to its end: what it has no row about is untouched."""
        done = {output for output in self._inherited & set(self.stands) if self.row(output)["status"] == "done"}
        shards.end(self.record_path, self._inherited - done)

    def close(self):
        """No more rows."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


def _unfinished(record):
    """Outputs that a run may have left without a row."""
    return set(record.left) if record.left is not None else {output for _, output, _ in record.items} | record.before
