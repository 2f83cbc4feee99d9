"""Many inputs, one recipe: thousands of maps, masks or half maps on the CPUs and GPUs of one machine or of many.

=============== ==================================================
``lists``       what to do: text, CSV, STAR, glob, folder
``operations``  what can be done to each input
``plans``       from a list to items
``fingerprint`` whether an input is what it was
``ledger``      ``results.jsonl``
``locks``       one run at a time on a folder
``resources``   CPUs, memory and GPUs that may be used
``disks``       how fast a disk gives what it holds
``shards``      the part of a list that one run does
``work``        one item: read, computed, written
``lanes``       how maps and masks move through a process
``rings``       memory that is used again
``holes``       files without their zeros
``worker``      what runs in a worker process
``nursery``     the process that workers are forked from
``pools``       worker processes
``dask``        a cluster in their place
``summary``     ``summary.json``, ``summary.csv``
``runs``        :func:`batch` and :func:`merge`
=============== ==================================================
"""

from gpumask.batching.runs import batch, merge

__all__ = ["batch", "merge"]
