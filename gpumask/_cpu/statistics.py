"""min, max, mean, standard deviation in float64, in one fixed order of addition."""

import math

import numpy as np

COLUMNS = 65536  # partial sums; value i goes to partial i % COLUMNS, in order, then fsum joins them exactly


def statistics(array):
    return of_chunks(lambda: [array])


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
            if centre is not None:
                row -= centre
                row *= row
            partial[column : column + row.size] += row
            start += row.size
            column = (column + row.size) % COLUMNS
    return math.fsum(partial)
