"""The loops that numba compiles, released from the GIL so that Python threads share the planes.

Sums are wrapped in the array's own type: numba widens uint16 + uint16 to 64 bits, which costs the vector units three
quarters of their width.
"""

import numpy as np
from numba import njit

_NO_TABLE = np.zeros(0, np.float32)


def _jit(function):
    """Compile on first call; keep the machine code on disk where the package or the home folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it could cache in
        return njit(nogil=True)(function)


@_jit
def sweep(foreground, count, far, y0, y1):
    planes, _, width = foreground.shape
    for z in range(planes):
        for y in range(y0, y1):
            for x in range(width):
                count[z, y, x] = 0 if foreground[z, y, x] else far
    for z in range(1, planes):
        for y in range(y0, y1):
            _step(count[z, y], count[z - 1, y])
    for z in range(planes - 2, -1, -1):
        for y in range(y0, y1):
            _step(count[z, y], count[z + 1, y])


@_jit
def _step(here, neighbour):
    for x in range(here.size):
        here[x] = min(here[x], here.dtype.type(neighbour[x] + 1))


@_jit
def _lower(nearest, source, cost):
    for x in range(nearest.size):
        nearest[x] = min(nearest[x], nearest.dtype.type(source[x] + cost))


@_jit
def _highest(row):
    high = row[0]
    for x in range(row.size):
        high = max(high, row[x])
    return high


@_jit
def _minima_y(plane, lows, y, y_cost, nearest):
    """Row y of the minima along y into `nearest`; returns its largest value."""
    nearest[:] = plane[y]
    high = _highest(nearest)
    for k in range(1, y_cost.size):
        cost = y_cost[k]
        if cost >= high:
            break
        lowered = False
        if y >= k and lows[y - k] < high - cost:
            _lower(nearest, plane[y - k], cost)
            lowered = True
        if y + k < plane.shape[0] and lows[y + k] < high - cost:
            _lower(nearest, plane[y + k], cost)
            lowered = True
        if lowered:
            high = _highest(nearest)
    return high


@_jit
def _minima_x(padded, high, x_cost, nearest):
    """Minima along a row that has as many far voxels added on each side as the window is wide."""
    reach = x_cost.size - 1
    width = nearest.size
    nearest[:] = padded[reach : reach + width]
    for k in range(1, x_cost.size):
        cost = x_cost[k]
        if cost >= high:
            break
        _lower(nearest, padded[reach - k : reach - k + width], cost)
        _lower(nearest, padded[reach + k : reach + k + width], cost)
        if k % 4 == 0:
            high = _highest(nearest)


@_jit
def _planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1):
    _, height, width = count.shape
    reach = x_cost.size - 1
    plane = np.empty((height, width), cost_of_count.dtype)
    lows = np.empty(height, cost_of_count.dtype)
    padded = np.full(width + 2 * reach, cap, cost_of_count.dtype)
    middle = padded[reach : reach + width]
    nearest = np.empty(width, cost_of_count.dtype)
    for z in range(z0, z1):
        for y in range(height):
            low = cost_of_count[-1]
            for x in range(width):
                value = cost_of_count[count[z, y, x]]
                plane[y, x] = value
                low = min(low, value)
            lows[y] = low
        for y in range(height):
            high = _minima_y(plane, lows, y, y_cost, middle)
            _minima_x(padded, high, x_cost, nearest)
            row = out[z + corner[0], y + corner[1], corner[2] : corner[2] + width]
            if table.size:
                for x in range(width):
                    row[x] = table[int(nearest[x])]
            else:
                row[:] = nearest


def planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1):
    table = _NO_TABLE if table is None else table
    _planes(count, cost_of_count, y_cost, x_cost, cap, table, out, corner, z0, z1)


@_jit
def shell_sums(a, b, z, y, x, weights, partial, start, stop):
    shells = np.empty(x.size, np.int64)
    for plane in range(start, stop):
        sums = partial[plane]
        for row in range(y.size):
            for column in range(x.size):
                shells[column] = int(np.sqrt((y[row] + x[column]) + z[plane]) + 0.5)
            first, second = a[plane, row], b[plane, row]
            for column in range(x.size):
                here, there = first[column], second[column]
                product = np.float64(here.real) * there.real + np.float64(here.imag) * there.imag
                sums[shells[column]] += product * weights[column]


@_jit
def shell_products(a, b, z, y, x, weights, partial, start, stop):
    shells = np.empty(x.size, np.int64)
    for plane in range(start, stop):
        cross, power_a, power_b = partial[plane]
        for row in range(y.size):
            for column in range(x.size):
                shells[column] = int(np.sqrt((y[row] + x[column]) + z[plane]) + 0.5)
            first, second = a[plane, row], b[plane, row]
            for column in range(x.size):
                shell, weight = shells[column], weights[column]
                here, there = first[column], second[column]
                real, imaginary = np.float64(here.real), np.float64(here.imag)
                other_real, other_imaginary = np.float64(there.real), np.float64(there.imag)
                cross[shell] += (real * other_real + imaginary * other_imaginary) * weight
                power_a[shell] += (real * real + imaginary * imaginary) * weight
                power_b[shell] += (other_real * other_real + other_imaginary * other_imaginary) * weight


@_jit
def _add_power(values, coefficients):
    for column in range(values.size):
        here = coefficients[column]
        values[column] += np.float64(here.real) * here.real + np.float64(here.imag) * here.imag


@_jit
def folded_power(block, z, y, x, weights, partial, start, stop):
    shells = np.empty(x.size, np.int64)
    values = np.empty(x.size)
    mate = stop - start  # the first plane of the mates; plane 0 has none
    for plane in range(start, stop):
        own, paired = plane - start, 0 < plane < z.size - plane
        sums = partial[plane]
        for row in range(y.size // 2 + 1):
            mirrored = y.size - row
            values[:] = 0.0
            _add_power(values, block[own, row])
            if paired:
                _add_power(values, block[mate, row])
            if 0 < row < mirrored:
                _add_power(values, block[own, mirrored])
                if paired:
                    _add_power(values, block[mate, mirrored])
            for column in range(x.size):
                shells[column] = int(np.sqrt((y[row] + x[column]) + z[plane]) + 0.5)
            for column in range(x.size):
                sums[shells[column]] += values[column] * weights[column]
        mate += paired


@_jit
def sums(values, bits, width, partial, lows, highs, filled, start, stop):
    """Add value i to partial i % partial.size, in order, in columns of `width` partials, start <= column < stop; the
    least and greatest values likewise, and which pieces of `width` values have a bit that is set."""
    columns = partial.size // width
    for column in range(start, stop):
        here = slice(column * width, (column + 1) * width)
        for piece in range(column, filled.size, columns):
            filled[piece] = _any_bit(bits[piece * width : (piece + 1) * width])
            if filled[piece]:
                row = values[piece * width : (piece + 1) * width]
                _add(partial[here], row)
                _lower_to(lows[here], row)
                _raise(highs[here][: row.size], row)
            else:
                lows[here.start] = min(lows[here.start], np.float32(0))
                highs[here.start] = max(highs[here.start], np.float32(0))


@_jit
def _any_bit(bits):
    found = bits[0]
    for x in range(bits.size):
        found |= bits[x]
    return found != 0


@_jit
def _add(totals, row):
    for x in range(row.size):
        totals[x] += row[x]


@_jit
def _lower_to(heights, others):
    for x in range(others.size):
        heights[x] = others[x] if others[x] < heights[x] else heights[x]


@_jit
def squares(values, width, centre, partial, filled, start, stop):
    """Add the squared distance of each value from `centre`, as :func:`sums` adds the values."""
    columns = partial.size // width
    for column in range(start, stop):
        total = partial[column * width : (column + 1) * width]
        for piece in range(column, filled.size, columns):
            row = values[piece * width : (piece + 1) * width]
            if filled[piece]:
                for x in range(row.size):
                    apart = np.float64(row[x]) - centre
                    total[x] += apart * apart
            else:
                for x in range(row.size):
                    total[x] += centre * centre


@_jit
def component_count(foreground):
    """Rows as runs of voxels, joined by union-find where they touch those of the four neighbour rows before them."""
    depth, height, width = foreground.shape
    runs = 0
    for z in range(depth):
        for y in range(height):
            row = foreground[z, y]
            runs += row[0]
            for x in range(1, width):
                runs += row[x] > row[x - 1]
    start, stop, parent = np.empty(runs, np.int64), np.empty(runs, np.int64), np.empty(runs, np.int64)
    first = np.zeros(depth * height + 1, np.int64)
    components = found = 0
    for z in range(depth):
        for y in range(height):
            row = foreground[z, y]
            here = z * height + y
            for x in range(width):
                if row[x] and (x == 0 or not row[x - 1]):
                    start[found], parent[found] = x, found
                if row[x] and (x == width - 1 or not row[x + 1]):
                    stop[found] = x + 1
                    found += 1
            first[here + 1] = found
            components += found - first[here]
            for back, up in ((0, -1), (-1, -1), (-1, 0), (-1, 1)):
                if z + back >= 0 and 0 <= y + up < height:
                    there = here + back * height + up
                    components -= _join(start, stop, parent, first[here], found, first[there], first[there + 1])
    return components


@_jit
def _join(start, stop, parent, i, i_end, j, j_end):
    """Join the runs i... of a row with those j... of another that they touch, at corners too; how many were apart."""
    joined = 0
    while i < i_end and j < j_end:
        if start[i] <= stop[j] and start[j] <= stop[i]:
            a, b = _root(parent, i), _root(parent, j)
            if a != b:
                parent[max(a, b)] = min(a, b)
                joined += 1
        if stop[i] < stop[j]:
            i += 1
        else:
            j += 1
    return joined


@_jit
def _root(parent, run):
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@_jit
def edge_sums(planes, edges, sums, first, start, stop):
    """Planes start <= z < stop, the sums of plane `first` at 0."""
    depth, height, width = planes.shape
    slope = np.zeros(width)
    for z in range(start, stop):
        below, above = max(z - 1, 0), min(z + 1, depth - 1)
        step = max(above - below, 1) * edges[0]
        soft, steep = np.zeros(width), np.zeros(width)
        for y in range(height):
            row, under, over = planes[z, y], planes[below, y], planes[above, y]
            up, down = max(y - 1, 0), min(y + 1, height - 1)
            before, after, apart = planes[z, up], planes[z, down], max(down - up, 1) * edges[1]
            for x in range(1, width - 1):
                slope[x] = (np.float64(row[x + 1]) - np.float64(row[x - 1])) / (2 * edges[2])
            if width > 1:
                slope[0] = (np.float64(row[1]) - np.float64(row[0])) / edges[2]
                slope[-1] = (np.float64(row[-1]) - np.float64(row[-2])) / edges[2]
            for x in range(width):
                value = np.float64(row[x])
                along_z = (np.float64(over[x]) - np.float64(under[x])) / step
                along_y = (np.float64(after[x]) - np.float64(before[x])) / apart
                soft[x] += value * (1 - value)
                steep[x] += np.sqrt(along_z * along_z + along_y * along_y + slope[x] * slope[x])
        sums[z - first, 0], sums[z - first, 1] = soft.sum(), steep.sum()


@_jit
def ascend(values, foreground, parent, ties, start, stop):
    """Each foreground voxel's highest neighbour, or the voxel itself where none is higher, else -1; planes in which
    a voxel of the latter kind has an equal neighbour are `ties`. Heights first, over whole rows, which vectorises."""
    depth, height, width = values.shape
    highest = np.empty(width, values.dtype)
    rows = np.empty((3, height, width), values.dtype)  # of plane z at z % 3: the highest of three voxels along x
    for z in range(max(start - 1, 0), start + 1):
        _highest_of_three(values[z], rows[z % 3])
    for z in range(start, stop):
        if z + 1 < depth:
            _highest_of_three(values[z + 1], rows[(z + 1) % 3])
        for y in range(height):
            highest[:] = rows[z % 3, y]
            for near_z in range(max(z - 1, 0), min(z + 2, depth)):
                for near_y in range(max(y - 1, 0), min(y + 2, height)):
                    _raise(highest, rows[near_z % 3, near_y])
            for x in range(width):
                here = (z * height + y) * width + x
                if not foreground[z, y, x]:
                    parent[here] = -1
                elif values[z, y, x] < highest[x]:
                    parent[here] = _first_as_high(values, rows, highest[x], z, y, x)
                else:
                    parent[here] = here
                    ties[z] = ties[z] or _has_equal_neighbour(values, z, y, x)


@_jit
def _highest_of_three(plane, rows):
    for y in range(rows.shape[0]):
        rows[y] = plane[y]
        _raise(rows[y, 1:], plane[y, :-1])
        _raise(rows[y, :-1], plane[y, 1:])


@_jit
def _raise(heights, others):
    for x in range(heights.size):
        heights[x] = others[x] if others[x] > heights[x] else heights[x]


@_jit
def _first_as_high(values, rows, high, z, y, x):
    """The first neighbour in scan order, this voxel included, of that height."""
    depth, height, width = values.shape
    for near_z in range(max(z - 1, 0), min(z + 2, depth)):
        for near_y in range(max(y - 1, 0), min(y + 2, height)):
            if rows[near_z % 3, near_y, x] == high:
                for near_x in range(max(x - 1, 0), min(x + 2, width)):
                    if values[near_z, near_y, near_x] == high:
                        return (near_z * height + near_y) * width + near_x
    return -1


@_jit
def _has_equal_neighbour(values, z, y, x):
    depth, height, width = values.shape
    equal = 0
    for near_z in range(max(z - 1, 0), min(z + 2, depth)):
        for near_y in range(max(y - 1, 0), min(y + 2, height)):
            for near_x in range(max(x - 1, 0), min(x + 2, width)):
                equal += values[near_z, near_y, near_x] == values[z, y, x]
    return equal > 1


@_jit
def _climbs(flat, parent, voxel):
    return flat[parent[voxel]] > flat[voxel]


@_jit
def _plateau(flat, parent, voxel):
    """The first voxel of a flat voxel's plateau; its parent is itself, or a voxel that climbs."""
    while parent[voxel] != voxel and not _climbs(flat, parent, parent[voxel]):
        if not _climbs(flat, parent, parent[parent[voxel]]):
            parent[voxel] = parent[parent[voxel]]
        voxel = parent[voxel]
    return voxel


@_jit
def merge_plateaus(values, parent, ties):
    """Flat voxels of one plateau get one goal: joined by union-find first, then sent where the first border climbs."""
    depth, height, width = values.shape
    flat = values.reshape(-1)
    for leaving in (False, True):
        for z in range(depth):
            if not ties[z]:
                continue
            for y in range(height):
                for x in range(width):
                    here = (z * height + y) * width + x
                    if parent[here] < 0 or _climbs(flat, parent, here):
                        continue
                    for near_z in range(max(z - 1, 0), min(z + 2, depth)):
                        for near_y in range(max(y - 1, 0), min(y + 2, height)):
                            for near_x in range(max(x - 1, 0), min(x + 2, width)):
                                there = (near_z * height + near_y) * width + near_x
                                if flat[there] != flat[here] or _climbs(flat, parent, there) != leaving:
                                    continue
                                if leaving:
                                    first = _plateau(flat, parent, here)
                                    if parent[first] == first or there < parent[first]:
                                        parent[first] = there
                                elif there < here and parent[there] != parent[here]:
                                    a, b = _plateau(flat, parent, here), _plateau(flat, parent, there)
                                    parent[max(a, b)] = min(a, b)


@_jit
def number_regions(parent, labels):
    """Labels in scan order, along the way to a voxel that has one, or to the end."""
    count = 0
    for voxel in range(parent.size):
        if parent[voxel] < 0 or labels[voxel]:
            continue
        end = voxel
        while parent[end] != end and not labels[end]:
            end = parent[end]
        if not labels[end]:
            count += 1
            labels[end] = count
        here = voxel
        while not labels[here]:
            labels[here] = labels[end]
            here = parent[here]
    return count
