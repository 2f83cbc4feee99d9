"""min, max, mean, standard deviation in float64, in one fixed order of addition."""

import math

import numpy as np

from gpumask._cpu import loops, threads

COLUMNS = 65536  # partial sums; value i goes to partial i % COLUMNS, in order, then fsum joins them exactly
PIECE = 1024  # values that are looked at together, for whether there is anything but zeros


def statistics(array):
    return survey(array)[0]


def survey(array):
    """The statistics, and an array that says of each PIECE of values in C order whether it has a bit that is set."""
    compiled = loops.compiled()
    if compiled and array.dtype == np.float32 and array.dtype.isnative and array.flags.c_contiguous and array.size:
        filled = np.empty(-(-array.size // PIECE), bool)
        found = _compiled_statistics(compiled, array.reshape(-1), filled)
        if found is not None:
            return found, filled
    return of_chunks(lambda: [array]), filled_pieces(array)


def filled_pieces(array):
    """Of each PIECE of values in C order whether it has a bit that is set."""
    values = np.ascontiguousarray(array).reshape(-1)
    bits = values.view(f"u{values.itemsize}")
    whole = bits.size // PIECE * PIECE
    filled = bits[:whole].reshape(-1, PIECE).any(axis=1)
    return np.append(filled, bits[whole:].any()) if whole < bits.size else filled


def _compiled_statistics(compiled, values, filled):
    """The same sums by columns, so that a thread's partials stay in its cache, and without those of zeros; None where a
    value is NaN or Inf, which minima and maxima of the loop pass over."""
    columns = COLUMNS // PIECE
    bits, partial = values.view(np.int32), np.zeros(COLUMNS)
    lows, highs = np.full(COLUMNS, np.inf, np.float32), np.full(COLUMNS, -np.inf, np.float32)
    threads.over_planes(
        lambda start, stop: compiled.sums(values, bits, PIECE, partial, lows, highs, filled, start, stop), columns
    )
    if not np.isfinite(partial).all():
        return None
    mean = math.fsum(partial) / values.size
    partial[:] = 0
    threads.over_planes(
        lambda start, stop: compiled.squares(values, PIECE, mean, partial, filled, start, stop), columns
    )
    return float(lows.min()), float(highs.max()), mean, math.sqrt(math.fsum(partial) / values.size)


def of_chunks(chunks):
    """Statistics of the values of all arrays that ``chunks()`` gives, one after another; it is called twice."""
    low, high, count = math.inf, -math.inf, 0

    def watched():
        nonlocal low, high, count
        for chunk in chunks():
            low, high = np.minimum(low, chunk.min()), np.maximum(high, chunk.max())
            count += chunk.size
            yield chunk

    mean = _partial_sums(watched(), None) / count
    variance = _partial_sums(chunks(), mean) / count
    return float(low), float(high), mean, math.sqrt(variance)


def _partial_sums(chunks, centre):
    """Sum of the values, or of their squared deviations from `centre`."""
    partial = np.zeros(COLUMNS)
    column = 0
    for chunk in chunks:
        flat = chunk.reshape(-1)
        start = 0
        while start < flat.size:
            row = flat[start : start + COLUMNS - column].astype(np.float64)
            with np.errstate(invalid="ignore"):  # Inf - Inf
                if centre is not None:
                    row -= centre
                    row *= row
                partial[column : column + row.size] += row
            start += row.size
            column = (column + row.size) % COLUMNS
    return math.fsum(partial) if np.isfinite(partial).all() else math.nan
