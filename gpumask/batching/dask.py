"""The items of a batch on a Dask cluster, which sees the same files."""

import contextlib
from asyncio import CancelledError

from gpumask.batching import work
from gpumask.batching.resources import MEMORY_SHARE
from gpumask.errors import MissingExtra, UsageError

PATIENCE = "30s"  # for the scheduler to answer
AHEAD = 2  # items a thread of the cluster has at hand, so that it does not wait for the next


@contextlib.contextmanager
def connected(address):
    """A client of the cluster at `address`, for the block."""
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"no Dask scheduler answers at {address}: {error}; give such as tcp://host:8786") from error
    with client:
        yield client


def results(client, items, task):
    """``(item, result)`` as each is done; see :meth:`gpumask.batching.pools.Pool.results`.

    Few more items than the cluster has threads are handed over at a time, so that the scheduler stays small. An item
    whose worker dies is begun again by Dask, and given up after more deaths than its ``allowed-failures`` (3). Where
    the scheduler is lost, ``stop`` says so.
    """
    distributed = _distributed()
    waiting = iter(items)
    under_way = {}

    def submit():
        item = next(waiting, None)
        if item is None:
            return None
        future = client.submit(through, task(item), pure=False, retries=0, key=f"gpumask-{item.output}-{id(items)}")
        under_way[future.key] = item
        return future

    done = None
    try:
        threads = max(1, sum(client.nthreads().values()))
        first = [future for _ in range(AHEAD * threads) if (future := submit())]
        with client.as_current():
            done = distributed.as_completed(first)
        for future in done:
            item = under_way.pop(future.key)
            error = future.exception()
            if error is None:
                yield item, future.result()
            elif isinstance(error, distributed.scheduler.KilledWorker):
                yield item, {"lost": f"{item.input}: the Dask workers that worked on it died: {error}"}
            else:
                yield item, {"lost": f"{item.input}: {type(error).__name__}: {error}"}
            future.release()
            if (following := submit()) is not None:
                done.add(following)
    except (OSError, TimeoutError, CancelledError) as error:  # of the connection: those of items come as values
        text = "the connection to the Dask scheduler was lost; what has a row is done; run again"
        yield None, {"stop": f"{text} ({type(error).__name__})"}
    finally:
        if done is not None and client.status == "running":
            with contextlib.suppress(OSError, TimeoutError, CancelledError):
                client.cancel([*done.futures])


def memory(client):
    """Bytes for one item on the smallest worker, 80 % of what it may use; None where there is no limit."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [one["memory_limit"] / one["nthreads"] for one in workers if one["memory_limit"]]
    return int(MEMORY_SHARE * min(limits)) if limits else None


def through(task):
    """One item on a worker, with one thread: the cluster has as many as its workers have threads."""
    from gpumask._cpu import threads

    threads.limit(1)
    return work.through(task)


def _distributed():
    try:
        import distributed
    except ImportError as error:
        raise MissingExtra("a Dask cluster needs the extra dask: pip install 'gpumask[dask]'") from error
    return distributed
