"""A batch from its list to its summary."""

import contextlib
import json
import os
import re
import threading
import time
from numbers import Real
from pathlib import Path

from gpumask import units
from gpumask.batching import disks, ledger, lists, locks, operations, plans, pools, resources, shards, summary
from gpumask.errors import OutOfMemory, UsageError, WriteFailed

PROBED = 3  # inputs of which the disk's rate is tried
INTERRUPTED = "interrupted"
NEEDED = "needed_bytes"  # of a row about an item that was refused for want of memory
TEMPORARY = re.compile(r"\.gpumask-(\d+)-[0-9a-f]+\.tmp")


def batch(
    source,
    output,
    do="create",
    *,
    workers=None,
    device=None,
    memory=None,
    shard=None,
    client=None,
    retry_failed=False,
    limit=None,
    dry_run=False,
    dense=False,
    overwrite=False,
    progress=None,
    **parameters,
):
    """Do one thing to every input of a list, several at a time; killed and run again it goes on where it was.

    Parameters
    ----------
    source : str, Path or list
        See :func:`gpumask.batching.lists.read`: a text file, a CSV or STAR table with parameters and outputs of single
        items, a glob, a folder, or a list of paths and of dicts with ``input``, ``output`` and parameters.
    output : str or Path
        A folder, made where it is not there. ``results.jsonl`` in it has a row for every item that came to an end.
    do : str
        ``create``, ``spectrum`` or ``fsc``.
    workers : int, optional
        Processes on the CPU; by default as many as there are CPUs for this process. On GPUs there is one for each.
    device : str, optional
        ``auto`` (default): all GPUs that CUDA_VISIBLE_DEVICES shows, else the CPU; ``cpu``; ``cuda``, all of them;
        ``cuda:N``, this one.
    memory : int, optional
        Bytes that all processes may take together; by default 80 % of what is free, cgroups counted.
    shard : str, optional
        ``I/N`` or ``auto``: this run does every N-th item from the I-th on, see :func:`gpumask.batching.shards.parse`.
    client : distributed.Client, optional
        Run the items on this Dask cluster (extra ``dask``).
    retry_failed : bool
        Also do what has failed before; without it only what is new, unfinished or changed.
    limit : int, optional
        Do so many items at the most.
    dry_run : bool
        Only plan; nothing is written. ``items`` are those that would be done, ``not_done`` those that are sure not to.
    dense : bool
        Write rows of zeros too, where masks otherwise have holes.
    overwrite : bool
        Also replace files that no batch of this folder has written; never an input.
    progress : callable, optional
        Called with a dict at each event: ``plan``, then ``skipped`` for each item whose place another file has,
        ``item`` for each that came to an end, and ``note`` where a process died.
    **parameters
        Of ``gpumask create`` (fields of :class:`gpumask.MaskRecipe`, ``recipe``, ``preset``, ``like``, ``mode``,
        ``voxel_size``, ``nan_to``, ``plot``, ``sha256``, ``core_soft`` with ``half1``, ``half2``, ``onset`` and
        ``assume_unmasked``), ``spectrum`` (``plot`` is True) or ``fsc``, for every item that has no such parameter of
        its own.

    Returns
    -------
    dict
        ``planned``, ``finished`` (done by an earlier run), ``done``, ``failed`` (``failed_before`` of them by an
        earlier run), ``skipped``, ``left`` (not begun or not brought to an end, by `limit` or a stop), ``not_done``
        with the reasons, ``warned`` (how many of those done have warnings in their rows), ``seconds``, ``bytes_read``,
        ``bytes_written``, ``wall_seconds``,
        ``disk_bytes_per_second`` (of a short trial, or None), ``stopped`` (why the run ended before its list, or None),
        ``notes`` and ``files``.

    Raises
    ------
    UsageError
        A list or parameters that cannot be used, outputs that meet or leave the folder; nothing was begun.
    MissingExtra
        Figures are asked for, and matplotlib is not installed, or atomic models, and gemmi is not; nothing was begun.
    OutOfMemory
        There is not even memory for a process; nothing was begun.
    WriteFailed
        Another run works in the folder, or it cannot be written.
    """
    begun = time.perf_counter()
    operation = operations.of(do)
    folder = Path(output)
    workers, limit, memory = (
        _whole(name, value) for name, value in (("workers", workers), ("limit", limit), ("memory", memory))
    )
    part = shards.parse(shard)
    found = planned(source, folder, operation, parameters)
    whole, total = shards.digest(found), len(found)
    if part is not None:
        found = found[part[0] - 1 :: part[1]]
    tell = progress or (lambda event: None)
    with contextlib.ExitStack() as stack:
        crashed = False
        if not dry_run:
            _make_folder(folder)
            crashed = stack.enter_context(_alone_in(folder, part))
        book = ledger.Ledger(folder, part)
        if not dry_run:
            book.open(found, whole, total)
            stack.callback(book.close)
        run = _Run(operation, folder, part, found, book, dense)
        run.ration(memory, client)
        waiting = run.choose(retry_failed, overwrite)
        left = [] if limit is None else waiting[limit:]
        waiting = waiting[: len(waiting) - len(left)]
        run.place(waiting, device, workers, client)
        tell({"event": "plan", "shard": part and list(part), "items": len(found), "finished": run.finished,
              "failed_before": run.failed_before, "to_do": len(waiting), "left": len(left),
              "skipped": len(run.skipped), **run.placed, "notes": book.notes})  # fmt: skip
        would = None
        if dry_run:
            would = run.foresee(waiting)
        else:
            run.go(waiting, client, tell, crashed or book.was_killed)
        return run.told(time.perf_counter() - begun, would)


def planned(source, folder, operation, parameters):
    """The items of a list, see :func:`gpumask.batching.plans.items`."""
    rows = lists.read(source, operation.columns)
    if operation.name == "create" and lists.is_pattern(source):  # masks in the folder of their maps are no maps
        made = {os.path.realpath(folder / name) for name in ledger.made(folder)}
        rows = [row for row in rows if os.path.realpath(row.input) not in made]
    return plans.items(rows, operation, parameters, folder)


def merge(output):
    """Join the ledgers that shards have written into ``results.jsonl``, and write the summary of the list.

    Parameters
    ----------
    output : str or Path
        The folder of the batch; no run may be working in it.

    Returns
    -------
    dict
        Counts, seconds and bytes, ``not_done`` with the reasons, ``files``.

    Raises
    ------
    UsageError
        No batch has worked here, a shard has not been run, or shards saw different lists.
    WriteFailed
        A run works in the folder, or it cannot be written.
    """
    folder = Path(output)
    if not ledger.all_of(folder):
        raise UsageError(f"{folder}: holds no results of a batch; give the folder that was its output")
    with _alone_in(folder, None):
        book, items = ledger.merge(folder)
        sweep({folder, *((folder / name).parent for name in book.newest)})

        def rows():
            for item in items:
                text = book.counting(item[1], recipe_hash=item[2])
                yield summary.left(*item) if text is None else json.loads(text)

        totals, files = summary.write(folder, rows, {})
    return {**totals.to_dict(), "not_done": totals.not_done, "files": [str(ledger.names(folder)[0]), *files]}


class _Run:
    """What a batch knows as it goes."""

    def __init__(self, operation, folder, part, found, book, dense):
        self.operation, self.folder, self.part, self.found = operation, folder, part, found
        self.book, self.dense = book, dense
        self.finished, self.skipped, self.totals, self.stopped, self.placed = 0, [], summary.Totals(), None, {}
        self.failed_before = 0
        self.disk, self.files = None, []

    def ration(self, memory, client):
        """Find out how much memory may be used, and how much of it one item may."""
        if client is None:
            self.budget, self.reserved = resources.memory() if memory is None else memory, pools.PROCESS_BYTES
        else:
            from gpumask.batching import dask

            self.budget, self.reserved = dask.memory(client) if memory is None else memory, 0
        self.room = None if self.budget is None else self.budget - self.reserved

    def choose(self, retry_failed, overwrite):
        """The items that are to be done; the others stand as they are."""
        prints, waiting = self._fingerprints(), []
        for item in self.found:
            state = self.book.standing(item, prints[item.number]) if item.number in prints else None
            if state == "done":
                self.finished += 1
            elif state == "failed" and not retry_failed and not self._fits_now(self.book.row(item.output)):
                self.failed_before += 1
                self.totals.add(self.book.row(item.output), earlier=True)
            elif not overwrite and (there := self.book.foreign(item)):
                self.skipped.append((item, there, state == "skipped"))
            else:
                self.book.stands.pop(item.output, None)
                waiting.append(item)
        return waiting

    def _fits_now(self, row):
        """Whether a row is about an item that there was no memory for, and there is now."""
        needed = row["metrics"].get(NEEDED)
        return needed is not None and (self.room is None or needed <= self.room)

    def _fingerprints(self):
        """By number, of the items that have rows."""
        known = [item for item in self.found if item.output in self.book.newest]
        return dict(zip([item.number for item in known], plans.fingerprints(known, self.operation), strict=True))

    def place(self, waiting, device, workers, client):
        """Choose processes, and how each box fits."""
        self.asked = device or "auto"
        if waiting and self.room is not None and self.room <= 0:
            raise OutOfMemory(
                f"{units.of_bytes(self.budget)} of memory may be used, and a process by itself takes "
                f"{units.of_bytes(self.reserved)}; give more"
            )
        if client is None:
            names, reason = resources.devices(device)
            cpus = resources.cpus()
            self.on_gpus = names != ["cpu"]
            count = len(names) if self.on_gpus else min(workers or cpus, max(len(waiting), 1))
        else:
            self.on_gpus, reason, self.threads = False, "as each worker of the cluster finds", 1
            count = sum(client.nthreads().values())
        # each process on a GPU sees that one alone
        self.device = self.asked.partition(":")[0] if self.on_gpus else "cpu" if client is None else self.asked
        plans.measure(waiting, self.operation, self.room, count if client is None else 1)
        if client is None:
            count = pools.fitting([item for item in waiting if item.refused is None], self.budget, count)
            self.devices = names[:count] if self.on_gpus else ["cpu"] * count
            self.threads = max(1, cpus // count)
        self.trial = threading.Thread(target=self._try_disk, args=(waiting[:PROBED],), daemon=True)
        self.trial.start()  # while the processes start, which leave the disk alone
        largest = max(waiting, key=lambda item: item.needed, default=None)
        self.placed = {
            "device": "cluster" if client is not None else "cuda" if self.on_gpus else "cpu",
            "device_reason": reason,
            "workers": count,
            "threads": self.threads,
            "memory_bytes": self.budget,
            "process_bytes": self.reserved,
            "largest_box": None if largest is None or largest.shape is None else list(reversed(largest.shape)),
            "largest_bytes": 0 if largest is None else largest.needed,
            "in_slabs": sum(item.slabs is not None for item in waiting),
            "refused": [item.refused for item in waiting if item.refused is not None],
        }

    def _try_disk(self, items):
        self.disk = next((rate for item in items if (rate := disks.rate(item.input))), None)

    def foresee(self, waiting):
        """The items that a run would do; rows of the others are counted, and nothing is written."""
        rows = [row for row, _ in self._skipped()]
        rows += [self._refused(item) for item in waiting if item.refused is not None]
        for row in rows:
            self.totals.add(row)
        return [item for item in waiting if item.refused is None]

    def _skipped(self):
        """A row for each item whose place another file has, and whether the ledger has it."""
        for item, there, known in self.skipped:
            text = (
                f"{self.folder / there}: is there and was not written by a batch of this folder; move it, or overwrite "
                "it with --force"
            )
            yield self._row(item, "skipped", text), known

    def go(self, waiting, client, tell, crashed):
        """Do the items, a row for each; `crashed` says that a run before this one may have left temporary files."""
        self.tell, self.to_do, self.begun = tell, len(waiting), time.perf_counter()
        for row, known in self._skipped():
            if not known:
                self.book.append(row)
            self.totals.add(row)
            tell({"event": "skipped", "row": row})
        if crashed and self.part is None:
            sweep({self.folder, *self._places(self.found)})
        fit = []
        for item in waiting:
            if item.refused is None:
                fit.append(item)
            else:
                self._end(self._refused(item))
        try:
            if fit:
                self._work(fit, client)
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED
        if (crashed or self.stopped == INTERRUPTED) and self.part is None:  # workers of a killed run may outlive it
            sweep({self.folder, *self._places(self.found)})
        _, self.files = summary.write(self.folder, self._rows, {"stopped": self.stopped}, self.part)
        if self.stopped is None:
            self.book.end()

    def _work(self, fit, client):
        if client is not None:
            from gpumask.batching import dask

            results = dask.results(client, fit, self._task)
        else:
            pool = pools.Pool(self.devices, self.threads, self.budget, self._task, self._sweep_after, self._note)
            results = pool.results(fit)
        with contextlib.closing(results):
            for item, result in results:
                if "lost" in result:
                    self._end(self._row(item, "failed", result["lost"]))
                elif result["stop"] is not None:
                    self.stopped = result["stop"]
                    return
                else:
                    self._end(result["row"])
        if client is not None and self.part is None:  # what workers that died left, wherever they were
            sweep(self._places(fit), lambda pid: True)

    def _task(self, item):
        return {
            "do": self.operation.name,
            "input": item.input,
            "output": item.output,
            "folder": str(self.folder.absolute()),
            "settings": item.settings,
            "recipe_hash": item.recipe_hash,
            "device": self.device,
            "slabs": item.slabs,
            "dense": self.dense,
        }

    def _refused(self, item):
        return {**self._row(item, "failed", item.refused), "metrics": {NEEDED: item.needed}}

    def _row(self, item, status, error):
        """The row of an item that was not worked on, or whose work came to nothing."""
        (digest,) = plans.fingerprints([item], self.operation)
        seconds = dict.fromkeys(summary.STEPS, 0.0)
        values = (item.input, item.output, status, error, item.recipe_hash, digest, seconds, 0, 0, {})
        return dict(zip(ledger.KEYS, values, strict=True))

    def _end(self, row):
        self.book.append(row)
        self.totals.add(row)
        self.tell({"event": "item", "of": self.to_do, "row": row, "wall_seconds": time.perf_counter() - self.begun})

    def _places(self, items):
        return {(self.folder / name).parent for item in items for name in item.files}

    def _note(self, text):
        self.tell({"event": "note", "text": text})

    def _sweep_after(self, pid, items):
        """Shards on other hosts have processes of the same number: what theirs leave behind :func:`merge` removes."""
        if self.part is None:
            sweep(self._places(items), pid.__eq__)

    def _rows(self):
        """How each item of the list stands."""
        for item in self.found:
            yield self.book.row(item.output) or summary.left(item.input, item.output, item.recipe_hash)

    def told(self, wall, would):
        """What the run came to; `would` are the items that a dry run would do, else None."""
        self.trial.join()
        totals = self.totals.to_dict()
        ended = self.finished + totals["items"]
        return {
            "planned": len(self.found),
            "finished": self.finished,
            **{state: totals[state] for state in ledger.STATES},
            "failed_before": self.failed_before,
            "warned": totals["warned"],
            "left": len(self.found) - ended,
            "not_done": self.totals.not_done,
            **{name: totals[name] for name in ("seconds", "bytes_read", "bytes_written")},
            "wall_seconds": wall,
            "disk_bytes_per_second": self.disk,
            "stopped": self.stopped,
            "notes": self.book.notes,
            "files": [] if would is not None else [str(self.book.path), *self.files],
            **({} if would is None else {"items": [{"input": item.input, "output": item.output} for item in would]}),
        }


def sweep(places, gone=None):
    """Remove temporary files in folders of outputs, of processes of which ``gone(pid)`` is true; by default those that
    do not run here."""
    gone = gone or (lambda pid: not locks.is_alive(pid))
    for place in places:
        with contextlib.suppress(OSError):
            for path in list(place.iterdir()):
                match = TEMPORARY.fullmatch(path.name)
                if match and gone(int(match[1])):
                    path.unlink(missing_ok=True)


def _whole(name, value):
    """A number as an int; None stays None."""
    if value is None:
        return None
    if not isinstance(value, Real) or not value >= 1 or value % 1 != 0:
        unit = " in bytes" if name == "memory" else ""
        raise UsageError(f"{name}{unit} must be at least 1, and whole, got {value!r}")
    return int(value)


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{folder}: cannot be made: {error.strerror}; give another folder with -o") from error


def _alone_in(folder, part):
    """A lock excludes all others but those of other shards of the same number."""
    mine = ledger.names(folder, part)[1]

    def others():
        beside = set() if part is None else set(folder.glob(f"results.*-of-{part[1]}.lock"))
        return sorted(set(folder.glob("results*.lock")) - beside - {mine})

    return locks.held(mine, others)
