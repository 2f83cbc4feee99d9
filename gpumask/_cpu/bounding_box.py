"""The smallest box that holds every True voxel. Methods of arrays only, so that CuPy's arrays can use it too."""


def bounding_box(foreground):
    rows = foreground.any(axis=2)
    z, y = _extent(rows.any(axis=1)), _extent(rows.any(axis=0))
    if z is None:
        return None
    return z, y, _extent(foreground[z, y].any(axis=(0, 1)))


def _extent(line):
    """Slice from the first to the last True of a 1-D array, or None."""
    hits = line.nonzero()[0]
    return slice(int(hits[0]), int(hits[-1]) + 1) if hits.size else None
