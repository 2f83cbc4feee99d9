"""A batch from its list to its summary."""

import contextlib
import os
import re
import time
from pathlib import Path

from gpumask.batching import disks, ledger, lists, locks, operations, plans, pools, resources, shards, summary
from gpumask.errors import UsageError, WriteFailed

PROBED = 3  # inputs of which the disk's rate is tried
INTERRUPTED = "interrupted"
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
        Only plan; nothing is written.
    dense : bool
        Write rows of zeros too, where masks otherwise have holes.
    overwrite : bool
        Also replace files that no batch of this folder has written; never an input.
    progress : callable, optional
        Called with a dict at each event: ``plan``, then ``item`` for each item that came to an end.
    **parameters
        Of ``gpumask create`` (fields of :class:`gpumask.MaskRecipe`, ``recipe``, ``preset``, ``like``, ``mode``,
        ``voxel_size``, ``nan_to``), ``spectrum`` or ``fsc``, for every item that has no such parameter of its own.

    Returns
    -------
    dict
        ``planned``, ``finished`` (done by an earlier run), ``done``, ``failed``, ``skipped``, ``left`` (by `limit`, or
        by a stop), ``not_done`` with the reasons, ``seconds``, ``bytes_read``, ``bytes_written``, ``wall_seconds``,
        ``disk_bytes_per_second`` (of a short trial, or None), ``stopped`` (why the run ended before its list, or None),
        ``notes`` and ``files``.

    Raises
    ------
    UsageError
        A list or parameters that cannot be used, outputs that meet or leave the folder; nothing was begun.
    WriteFailed
        Another run works in the folder, or it cannot be written.
    """
    begun = time.perf_counter()
    operation = operations.of(do)
    folder = Path(output)
    for name, value in (("workers", workers), ("limit", limit)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    part = shards.parse(shard)
    rows = lists.read(source, operation.columns)
    if do == "create" and lists.is_pattern(source):  # masks in the folder of their maps are no maps
        made = {folder.absolute() / name for name in ledger.owned(folder)}
        rows = [row for row in rows if Path(row.input).absolute() not in made]
    found = plans.items(rows, operation, parameters, folder)
    if part is not None:
        found = found[part[0] - 1 :: part[1]]
    tell = progress or (lambda event: None)
    with contextlib.ExitStack() as stack:
        if not dry_run:
            _make_folder(folder)
            stack.enter_context(_alone_in(folder, part))
        book = ledger.Ledger(folder, part)
        if not dry_run:
            book.open()
            stack.callback(book.close)
        run = _Run(operation, folder, part, found, book, dense)
        waiting = run.choose(retry_failed, overwrite)
        left = [] if limit is None else waiting[limit:]
        waiting = waiting[: len(waiting) - len(left)]
        run.place(waiting, device, workers, memory, client)
        tell({"event": "plan", "items": len(found), "finished": run.finished, "to_do": len(waiting), "left": len(left),
              "skipped": len(run.skipped), **run.placed, "notes": book.notes})  # fmt: skip
        if not dry_run:
            run.go(waiting, client, tell)
        return run.told(left, time.perf_counter() - begun, dry_run)


def merge(output):
    """Join the ledgers that shards have written into ``results.jsonl``, and write the summary of all.

    Parameters
    ----------
    output : str or Path
        The folder of the batch; no run may be working in it.

    Returns
    -------
    dict
        Counts, seconds and bytes, ``not_done`` with the reasons, ``files``.
    """
    folder = Path(output)
    if not ledger.all_of(folder):
        raise UsageError(f"{folder}: holds no results of a batch; give the folder that was its output")
    with _alone_in(folder, None):
        ledger.merge(folder)
        book = ledger.Ledger(folder)
        sweep({(folder / name).parent for name in book.owned})
        totals, files = summary.write(folder, book, list(book.newest), {})
    return {**totals.to_dict(), "not_done": totals.not_done, "files": [str(ledger.names(folder)[0]), *files]}


class _Run:
    """What a batch knows as it goes."""

    def __init__(self, operation, folder, part, found, book, dense):
        self.operation, self.folder, self.part, self.found = operation, folder, part, found
        self.book, self.dense = book, dense
        self.finished, self.skipped, self.totals, self.stopped, self.placed = 0, [], summary.Totals(), None, {}
        self.disk, self.files = None, []

    def choose(self, retry_failed, overwrite):
        """The items that are to be done; the others stand as they are."""
        prints, waiting = self._fingerprints(), []
        for item in self.found:
            state = self.book.standing(item, prints[item.number]) if item.number in prints else None
            if state == "done":
                self.finished += 1
            elif state == "failed" and not retry_failed:
                self.totals.add(self.book.row(item.output))
            elif not overwrite and (there := self._foreign(item)):
                self.skipped.append((item, there, state == "skipped"))
            else:
                waiting.append(item)
        return waiting

    def _fingerprints(self):
        """By number, of the items that have rows."""
        known = [item for item in self.found if item.output in self.book.newest]
        return dict(zip([item.number for item in known], plans.fingerprints(known, self.operation), strict=True))

    def _foreign(self, item):
        """A file in the place of an output that no batch of this folder has made, or None."""
        if item.output in self.book.owned:
            return None
        return next((name for name in item.files if os.path.lexists(self.folder / name)), None)

    def place(self, waiting, device, workers, memory, client):
        """Choose processes, and how each box fits."""
        self.asked = device or "auto"
        if client is None:
            names, reason = resources.devices(device)
            cpus, budget = resources.cpus(), resources.memory()
            self.on_gpus = names != ["cpu"]
            count = len(names) if self.on_gpus else min(workers or cpus, max(len(waiting), 1))
            self.devices = names if self.on_gpus else ["cpu"] * count
            self.threads, reserved = max(1, cpus // count), pools.PROCESS_BYTES
        else:
            from gpumask.batching import dask

            self.on_gpus, reason, self.threads = False, "as each worker of the cluster finds", 1
            count, budget, reserved = sum(client.nthreads().values()), dask.memory(client), 0
        # each process on a GPU sees that one alone
        self.device = self.asked.partition(":")[0] if self.on_gpus else "cpu" if client is None else self.asked
        self.budget = budget if memory is None else memory
        room = None if self.budget is None else max(self.budget - reserved, 0)
        plans.measure(waiting, self.operation, room, count if client is None else 1)
        self.disk = next((rate for item in waiting[:PROBED] if (rate := disks.rate(item.input))), None)
        largest = max(waiting, key=lambda item: item.needed, default=None)
        self.placed = {
            "device": "cluster" if client is not None else "cuda" if self.on_gpus else "cpu",
            "device_reason": reason,
            "workers": count,
            "threads": self.threads,
            "memory_bytes": self.budget,
            "largest_box": None if largest is None or largest.shape is None else list(reversed(largest.shape)),
            "largest_bytes": 0 if largest is None else largest.needed,
            "in_slabs": sum(item.slabs is not None for item in waiting),
            "refused": [item.refused for item in waiting if item.refused is not None],
        }

    def go(self, waiting, client, tell):
        """Do the items, a row for each."""
        self.tell, self.to_do, self.begun = tell, len(waiting), time.perf_counter()
        for item, there, known in self.skipped:
            text = (
                f"{self.folder / there}: is there and was not written by a batch of this folder; move it or overwrite"
            )
            row = self._row(item, "skipped", text)
            if not known:
                self.book.append(row)
            self.totals.add(row)
        if self.part is None:
            sweep(self._places(waiting))
        self.book.own([item.output for item in waiting])
        fit = []
        for item in waiting:
            if item.refused is None:
                fit.append(item)
            else:
                self._end(self._row(item, "failed", item.refused))
        try:
            if fit:
                self._work(fit, client)
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED
        if self.part is None:  # again: a worker of a killed run may have outlived it until now
            sweep(self._places(waiting))
        self._write_summary()

    def _work(self, fit, client):
        if client is not None:
            from gpumask.batching import dask

            results = dask.results(client, fit, self._task)
        else:
            pool = pools.Pool(self.devices, self.threads, self.budget, self._task, self._sweep_after)
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

    def _sweep_after(self, pid, items):
        """Shards on other hosts have processes of the same number: what theirs leave behind :func:`merge` removes."""
        if self.part is None:
            sweep(self._places(items), pid.__eq__)

    def _write_summary(self):
        outputs = [item.output for item in self.found if item.output in self.book.newest]
        more = {"planned": len(self.found), "stopped": self.stopped}
        _, self.files = summary.write(self.folder, self.book, outputs, more, self.part)

    def told(self, left, wall, dry_run):
        """What the run came to."""
        totals = self.totals.to_dict()
        ended = self.finished + totals["items"]
        return {
            "planned": len(self.found),
            "finished": self.finished,
            **{state: totals[state] for state in ledger.STATES},
            "left": len(self.found) - ended,
            "not_done": self.totals.not_done,
            **{name: totals[name] for name in ("seconds", "bytes_read", "bytes_written")},
            "wall_seconds": wall,
            "disk_bytes_per_second": self.disk,
            "stopped": self.stopped,
            "notes": self.book.notes,
            "files": [] if dry_run else [str(self.book.path), *self.files],
            **({"items": [{"input": item.input, "output": item.output} for item in self.found]} if dry_run else {}),
        }


def sweep(places, gone=None):
    """Remove temporary files in folders of outputs, of processes of which ``gone(pid)`` is true; by default those that
    do not run here."""
    gone = gone or (lambda pid: not _is_alive(pid))
    for place in places:
        with contextlib.suppress(OSError):
            for path in list(place.iterdir()):
                match = TEMPORARY.fullmatch(path.name)
                if match and gone(int(match[1])):
                    path.unlink(missing_ok=True)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{folder}: cannot be made: {error.strerror}; give another folder with -o") from error


def _alone_in(folder, part):
    """The lock of a whole list excludes all others, that of a shard whole lists and the same shard."""
    mine = ledger.names(folder, part)[1]
    whole = ledger.names(folder)[1]
    others = sorted(set(folder.glob("results*.lock")) - {mine}) if part is None else [whole]
    return locks.held(mine, others)
