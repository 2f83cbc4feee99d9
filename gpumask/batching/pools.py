"""Worker processes: items handed out as memory allows, results gathered, workers that died replaced."""

import contextlib
import json
import os
import queue
import statistics
import threading
from collections import deque

from gpumask.batching.nursery import Nursery
from gpumask.batching.worker import told
from gpumask.errors import GpumaskError

DEPTH = 3  # items of one worker: one read, one computed, one written
LAST = 5.0  # s for workers to follow their nursery
PROCESS_BYTES = 250 << 20  # of a worker that does nothing: Python, numpy, scipy, numba


def fitting(items, budget, most):
    """How many of `most` processes the memory allows, at least 1, each with an item of the middle size."""
    if budget is None or not items:
        return most
    one = PROCESS_BYTES + statistics.median(_bytes([item]) for item in items)
    return max(1, min(most, int(budget // one)))


def _bytes(items):
    """What items that are under way in one process take at the most."""
    held = [item.held for item in items]
    return max(item.needed for item in items) + sum(held) + max(held)  # one file put together


class Pool:
    """Processes that do items.

    Parameters
    ----------
    devices : list of str
        One for each worker: ``cpu``, or what CUDA_VISIBLE_DEVICES is to be for it. As many are started as the memory
        allows.
    threads : int
        CPU threads of each.
    budget : int or None
        Bytes that all may take together.
    task : callable
        ``task(item)`` gives what is sent to a worker.
    sweep : callable
        ``sweep(pid, items)`` removes what a killed worker has left of its items.
    note : callable
        ``note(text)`` is told of a worker that died at its work.
    """

    def __init__(self, devices, threads, budget, task, sweep, note):
        self.devices, self.budget, self.task, self.sweep, self.note = devices, budget, task, sweep, note
        self.nursery, self.inbox = Nursery(threads), queue.SimpleQueue()
        self.workers, self.stillborn, self.alone = [], 0, False

    def _end(self, worker, kill):
        """End a worker and what it has left; how it ended, and the items that it had."""
        items = list(worker.items.values())
        reason = worker.end(kill)
        self.sweep(worker.pid, items)
        return reason, items

    def _start(self, device):
        return _Worker(device, self.nursery, self.inbox)

    def results(self, items):
        """``(item, result)`` as each is done. An item whose worker dies, or runs out of memory, is tried once more with
        nothing beside it."""
        try:
            count = fitting(items, self.budget, len(self.devices))
            for device in self.devices[:count]:
                self.workers.append(self._start(device))
            yield from self._results(deque(items))
        finally:
            try:
                for worker in self.workers:
                    self._end(worker, kill=bool(worker.items))
            finally:  # also after a second interrupt
                self.nursery.end()
                for worker in self.workers:
                    worker.listener.join(LAST)

    def _results(self, waiting):
        again, tried = deque(), set()
        while waiting or again or self._under_way():
            self._hand_out(waiting, again)
            worker, message = self.inbox.get()
            if message == "ready":
                worker.ready, self.stillborn = True, 0
            elif message is None:
                reason, lost = self._end(worker, kill=False)
                if not worker.ready:
                    self.stillborn += 1
                    if self.stillborn > len(self.workers):
                        raise GpumaskError(f"worker processes cannot start: {reason}")
                    waiting.extendleft(reversed(lost))
                    lost = []
                self.workers.remove(worker)
                self.workers.append(self._start(worker.device))
                if lost:
                    self.note(f"a worker process died ({reason}); what it was at is done again: {len(lost)} items")
                for item in lost:
                    if item.number in tried:
                        yield item, {"lost": f"{item.input}: the process that worked on it died twice: {reason}"}
                    else:
                        tried.add(item.number)
                        again.append(item)
            else:
                number, result = message
                item = worker.items.pop(number)
                if result["out_of_memory"] and number not in tried:
                    tried.add(number)
                    again.append(item)
                else:
                    yield item, result

    def _under_way(self):
        return sum(len(worker.items) for worker in self.workers)

    def _hand_out(self, waiting, again):
        """Give items to workers, in order, while they fit; one that is tried again has the machine for itself."""
        if again:
            if not self._under_way():
                self.workers[-1].send(again.popleft(), self.task)  # the newest: others may be dead too, unheard of yet
                self.alone = True
            return
        if self.alone and self._under_way():
            return
        self.alone = False
        while waiting:
            worker = min(self.workers, key=lambda worker: len(worker.items))
            if len(worker.items) >= DEPTH or not self._fits(worker, waiting[0]):
                return
            worker.send(waiting.popleft(), self.task)

    def _fits(self, worker, item):
        """Whether there is memory for one more item of a worker; nothing is too large for an idle machine."""
        if self.budget is None or not self._under_way():
            return True
        return sum(one.bytes(item if one is worker else None) for one in self.workers) <= self.budget


class _Worker:
    """One process."""

    def __init__(self, device, nursery, inbox):
        self.device, self.nursery, self.items, self.ready = device, nursery, {}, False
        try:
            (tasks, sending), (listening, results) = os.pipe(), os.pipe()
        except OSError as error:
            raise GpumaskError(f"worker processes cannot start: {error.strerror}") from error
        try:
            self.pid = nursery.fork(device, (tasks, results))
        except BaseException:
            os.close(sending)
            os.close(listening)
            raise
        finally:
            os.close(tasks)
            os.close(results)
        self.tasks = os.fdopen(sending, "wb")
        self.listener = threading.Thread(target=self._listen, args=(inbox, listening), daemon=True)
        self.listener.start()

    def _listen(self, inbox, listening):
        with os.fdopen(listening, "rb") as lines, contextlib.suppress(ValueError):  # half a line of one that was killed
            for line in lines:
                inbox.put((self, json.loads(line)))
        inbox.put((self, None))

    def send(self, item, task):
        self.items[item.number] = item
        with contextlib.suppress(OSError):  # it has just died, which its end of output will say
            self.tasks.write((json.dumps([item.number, task(item)]) + "\n").encode())
            self.tasks.flush()

    def bytes(self, more=None):
        """What this worker takes at the most, with one more item."""
        items = [*self.items.values(), *([more] if more else [])]
        return PROCESS_BYTES + (_bytes(items) if items else 0)

    def end(self, kill):
        """End the process, at once or when it is through; how it ended."""
        with contextlib.suppress(OSError):
            self.tasks.close()
        self.items = {}
        code = self.nursery.reap(self.pid, kill)
        self.listener.join()  # what the nursery took along may have its last files open still
        return told(code)
