"""Work on a device, with the CPU to fall back on."""

from gpumask import backend


def run(work, device, reason):
    """``work(device)``; on the CPU where the device's memory runs out, unless the device was demanded.

    Returns
    -------
    result
    device : str
        Where it was computed.
    notes : list of str
    """
    try:
        return work(device), device, []
    except MemoryError:
        if device == "cpu" or backend.is_demanded(reason):
            raise
    backend.free_memory(device)  # not in the handler, which keeps the arrays of the failed run alive
    return work("cpu"), "cpu", [f"out of memory on {device}; computed on the CPU"]
