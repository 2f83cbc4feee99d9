"""min, max, mean, standard deviation in float64, in one fixed order of addition."""

import math

import numpy as np

COLUMNS = 65536  # partial sums; value i goes to partial i % COLUMNS, in order, then fsum joins them exactly


def statistics(array):
    flat = array.reshape(-1)
    count = flat.size
    mean = _partial_sums(flat, None) / count
    variance = _partial_sums(flat, mean) / count
    return float(flat.min()), float(flat.max()), mean, math.sqrt(variance)


def _partial_sums(flat, centre):
    """Sum of the values, or of their squared deviations from `centre`."""
    partial = np.zeros(min(COLUMNS, flat.size))
    for start in range(0, flat.size, COLUMNS):
        row = flat[start : start + COLUMNS].astype(np.float64)
        if centre is not None:
            row -= centre
            row *= row
        partial[: row.size] += row
    return math.fsum(partial)
