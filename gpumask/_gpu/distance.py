"""Bounded squared distance to the nearest foreground voxel."""

import numpy as np

from gpumask import cuda
from gpumask._gpu.threshold import pack

REACH = 63  # of distance.cu
SLAB, ROWS = cuda.TILE["SLAB"], cuda.TILE["ROWS"]
WIDTH, RUN, GROUPS, CHECK = 64, 256, 4, 4  # as in distance.cu
LINE = 128  # threads of a block of distance_general.cu


def distance(foreground, costs, cap, inverted=False):
    return from_bits(pack(foreground, inverted), costs, cap, None)


def from_bits(bits, costs, cap, table):
    """``min(d², cap)``, or with a table ``table[min(d², cap)]``, from the bits of a volume."""
    if 0 in bits.shape:  # CuPy would launch one block on null pointers
        return cuda.cupy().empty(bits.shape, costs[0].dtype if table is None else np.float32)
    if _is_near(costs, cap):
        return _near(bits, len(costs[0]) - 1, int(cap), table)
    return _general(bits, costs, cap, table)


def _is_near(costs, cap):
    """Whether distance.cu serves: cubes, a short reach, and nothing below the cap beyond the reach."""
    steps = np.arange(len(costs[0]))
    cubes = all(np.array_equal(cost, steps * steps) for cost in costs)
    return cubes and len(steps) - 1 <= REACH and cap <= len(steps) ** 2 and costs[0].dtype == np.uint16


def _near(bits, reach, cap, table):
    cupy = cuda.cupy()
    nz, ny, nx = bits.shape
    pitch = bits.words.shape[2]
    halo = -(-reach // CHECK) * CHECK
    slabs, tiles_y, tiles_x = -(-nz // SLAB), -(-ny // ROWS), pitch // WIDTH
    variant = f"window{32 if reach < 32 else 64}-{'distance' if table is None else 'table'}"

    states = cupy.empty((slabs, tiles_y, tiles_x), np.uint8)
    nearest = cupy.empty((nz, ny, pitch), np.uint16)
    arguments = (bits.words, bits.occupancy, states, nearest, *map(np.int32, (nz, ny, pitch, halo)))
    shared = (ROWS + 2 * halo) * WIDTH * 2
    kernel = cuda.kernel("distance", variant, "distance_zy")
    kernel((states.size,), (ROWS * 2,), arguments, shared_mem=shared)

    out = cupy.empty(bits.shape, np.uint16 if table is None else np.float32)
    arguments = (states, nearest, out, *map(np.int32, (nz, ny, nx, pitch, halo, cap)))
    slots = RUN + 2 * halo
    shared = GROUPS * (slots + slots // 8) * 16
    if table is not None:
        arguments += (cupy.asarray(table),)
        shared += 4 * (cap + 1)
    blocks = slabs * -(-ny // (GROUPS * 8)) * -(-nx // RUN)
    kernel = cuda.kernel("distance", variant, "distance_x")
    kernel((blocks,), (GROUPS * RUN // 4,), arguments, shared_mem=shared)
    return out


def _general(bits, costs, cap, table):
    cupy = cuda.cupy()
    dtype = costs[0].dtype
    nz, ny, nx = map(np.int32, bits.shape)
    reach_z, reach_y, reach_x = (np.int32(len(cost) - 1) for cost in costs)
    costs_z, costs_y, costs_x = map(cupy.asarray, costs)
    variant = f"{dtype.name}-{'distance' if table is None else 'table'}"
    grid, block = (int(nz) * int(ny) * -(-int(nx) // LINE),), (LINE,)

    def launch(axis, *arguments):
        cuda.kernel("distance_general", variant, f"distance_{axis}")(grid, block, arguments)

    by_z, by_y = cupy.empty(bits.shape, dtype), cupy.empty(bits.shape, dtype)
    pitch = np.int32(bits.words.shape[2])
    launch("z", bits.words, costs_z, dtype.type(cap), reach_z, by_z, nz, ny, nx, pitch)
    launch("y", by_z, costs_y, reach_y, by_y, ny, nx)
    if table is None:
        launch("x", by_y, costs_x, reach_x, by_z, ny, nx)
        return by_z
    out = cupy.empty(bits.shape, np.float32)
    launch("x", by_y, costs_x, reach_x, out, cupy.asarray(table), ny, nx)
    return out
