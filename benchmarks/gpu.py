"""The soft mask on a GPU: its kernels apart and together, against a copy, the EDT of CuPy and the CPU."""

import math
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np

import gpumask
from gpumask import backend, cuda, io, local_resolution, pipeline
from gpumask.errors import DeviceNotFound

from . import Case, Findings, Table, batch, fsc, spectrum, watershed
from .create import DILATION, LEVEL, SOFT_EDGE, _has, particle

BOXES = (128, 256, 512, 1024)
REACHES = (8, 22, 48, 63)
FILLS = (0.05, 0.25, 1.0)  # shares of active tiles
COPY_BYTES = 2 << 30
CPU_BOX = 1024  # the CPU's result is waited for and compared up to this box
EDT_BOX = 512  # ~90 bytes a voxel
CHAIN_BOX = 512  # and more: a mask and its shell power, one after the other
FSC_BOXES = (256, 512)
WATERSHED_BOXES = (256, 512)
BATCH_BOX, BATCH_COUNT = 512, 16  # maps of 0.5 GB, so that one that waits for the first hardly counts
PARTICLE_BOX = 256  # larger ones repeat its voxels: to smooth noise takes 36 s at 512³ and minutes at 1024³
CALLS = 10  # launched together, so that the host's part of a call hides behind the device's


def tables(box):
    missing = cuda.missing()
    if missing:
        raise DeviceNotFound(missing)
    bandwidth = copy_bandwidth()
    yield first_calls()
    yield transfers()
    for edge in (box,) if box else BOXES:
        yield against_peers(edge, bandwidth)
        for reach in REACHES:
            for fill in FILLS:
                yield kernels(edge, reach, fill, bandwidth)
        for support in spectrum.SUPPORTS:
            yield shell_power(edge, support, bandwidth)
        if edge >= CHAIN_BOX:
            yield chain(edge, bandwidth)
        if edge in FSC_BOXES:
            yield half_maps(edge)
        if edge in WATERSHED_BOXES:
            yield regions(edge, bandwidth)
        if edge == BATCH_BOX:
            yield from batches(edge, BATCH_COUNT)


def timed(function, calls=1):
    """A run that ends when the device has."""

    def run():
        for _ in range(calls):
            function()
        cuda.cupy().cuda.get_current_stream().synchronize()

    return run


def copy_bandwidth():
    """Bytes/s, read and written, of a copy on the device: the best of ten."""
    cupy = cuda.cupy()
    source = cupy.ones(COPY_BYTES // 4, cupy.float32)
    target = cupy.empty_like(source)
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    best = math.inf
    for _ in range(10):
        start.record()
        cupy.copyto(target, source)
        stop.record()
        stop.synchronize()
        best = min(best, cupy.cuda.get_elapsed_time(start, stop) / 1000)
    return 2 * source.nbytes / best


def first_calls():
    """Compiling, or finding in CuPy's cache, what a first mask needs."""
    cupy = cuda.cupy()
    small = cupy.zeros((8, 8, 8), bool)
    small[4, 4, 4] = True
    gpumask.mask.soft_mask(small, 2, 3)
    gpumask.mask.soft_mask(small, 40, 12)
    cases = []
    for (name, variant, _), seconds in cuda.load_seconds.items():
        cases.append(Case(f"{name}, {variant}", lambda: None, None, 0))
        cases[-1].seconds = [seconds]
    return Table("First call of a kernel: compile, or find in CuPy's cache", cases, cases[0].name)


def transfers():
    """Pinned copies between host and device, 1 GiB."""
    cupy = cuda.cupy()
    count = 1 << 28
    pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(4 * count), np.float32, count)
    pinned[:] = 1
    device = cupy.empty(count, cupy.float32)
    cases = [
        Case("host to device, 1 GiB pinned", timed(lambda: device.set(pinned))),
        Case("device to host, 1 GiB pinned", timed(lambda: device.get(out=pinned))),
    ]
    return Table("Transfers", cases, cases[0].name)


def active(box, fill):
    """A box of which a share `fill` of the 64³ tiles holds foreground in one voxel of eight, on the device."""
    cupy = cuda.cupy()
    cells = -(-box // 64)
    chosen = np.random.default_rng(0).random((cells,) * 3) < fill
    grid = cupy.asarray(chosen).repeat(64, 0).repeat(64, 1).repeat(64, 2)[:box, :box, :box]
    index = cupy.arange(box)
    blocks = (index // 8) % 2 == 0
    return grid & blocks[:, None, None] & blocks[None, :, None] & blocks[None, None, :]


def kernels(box, reach, fill, bandwidth):
    """Packing, the distance, and the soft mask on the same foreground."""
    from gpumask._gpu import distance, soft_mask
    from gpumask._gpu.distance import from_bits
    from gpumask._gpu.threshold import pack

    cupy = cuda.cupy()
    foreground = active(box, fill)
    steps = np.arange(reach + 1)
    costs = ((steps * steps).astype(np.uint16),) * 3
    cap = np.uint16(reach * reach + 1)
    table = cupy.asarray(gpumask.mask.edge_table(0, reach))
    bits = pack(foreground)
    error = None
    if box <= CPU_BOX // 2:  # 0.03 s to 1.5 s
        wanted = backend.of(np.empty(0)).soft_mask(foreground.get(), costs, cap, table.get())
        error = float(np.abs(soft_mask(foreground, costs, cap, table).get() - wanted).max())
    cases = [
        Case(name, timed(run, CALLS), wrong, 5, CALLS, least)
        for name, run, wrong, least in (
            ("soft mask from bool", lambda: soft_mask(foreground, costs, cap, table), error, 5),
            ("pack bool to bits", lambda: pack(foreground), None, 1.125),
            ("soft mask from bits", lambda: from_bits(bits, costs, cap, table), None, 4.125),
            ("distance from bool", lambda: distance(foreground, costs, cap), None, 3),
        )
    ]
    for case in cases:
        case.run()
    title = f"Kernels: {box}³, reach {reach}, {100 * fill:.0f} % of the tiles active"
    return Table(title, cases, cases[0].name, box**3, bandwidth)


def shell_power(box, support, bandwidth):
    """Shell sums of a resident mask, against a whole transform and a bincount; bytes are those of _gpu/shell_sums."""
    cupy = cuda.cupy()
    mask = spectrum.soft_mask(box, support)
    device = cupy.asarray(mask)

    def bincount(index=None):
        power = cupy.abs(cupy.fft.rfftn(device)) ** 2
        power[:, :, 1 : (box + 1) // 2] *= 2
        index = shell_index(box) if index is None else index
        return cupy.bincount(index.reshape(-1), power.reshape(-1)).get()

    def ours():
        return gpumask.fourier.shell_power(device, 1.0)

    least = 20 + 16 * support + 16 * support**2 + 8 * support**3
    wanted = gpumask.fourier.shell_power(mask, 1.0) if box <= CPU_BOX else ours()
    runs = [
        ("gpumask, GPU", ours, 5, least),
        ("cupy.fft.rfftn alone", lambda: cupy.fft.rfftn(device), 5, 24),
        ("rfftn + bincount, GPU", bincount, 3, 44),
    ]
    if box <= EDT_BOX:
        index = shell_index(box)
        runs.append(("rfftn + bincount, indices kept, GPU", lambda: bincount(index), 3, 36))
    if box <= CPU_BOX:
        runs.append(("gpumask, CPU", lambda: gpumask.fourier.shell_power(mask, 1.0), 3, least))
    cases = []
    for name, function, rounds, counted in runs:
        found = function()  # also the warm-up
        error = float(np.abs(found - wanted).max() / wanted.max()) if found.ndim == 1 else None
        cases.append(Case(name, timed(function), error, rounds, bytes=counted))
    title = f"Shell power of a mask: {box}³, {spectrum.said(mask, support)}, resident"
    return Table(title, cases, "gpumask, GPU", box**3, bandwidth, "max |Δ| is of the greatest sum.")


def shell_index(box):
    """The shell of each coefficient of a half transform, on the device."""
    cupy = cuda.cupy()
    z, x = cupy.fft.fftfreq(box, 1 / box), cupy.fft.rfftfreq(box, 1 / box)
    squares = z[:, None, None] ** 2 + z[:, None] ** 2 + x**2
    return cupy.rint(cupy.sqrt(squares, out=squares), out=squares).astype(cupy.int32)


def chain(box, bandwidth):
    """A mask and the sums over shells of its power, both resident."""
    device = cuda.cupy().asarray(spectrum.soft_mask(box, 0.5))

    def both():
        made = gpumask.mask.soft_mask(gpumask.mask.threshold(device, LEVEL), DILATION, SOFT_EDGE)
        return gpumask.fourier.shell_power(made, 1.0)

    both()
    cases = [Case("mask and shell power", timed(both), None, 5, bytes=9.25 + 33)]
    title = f"A mask and its shell power: {box}³, dilation {DILATION} px, edge {SOFT_EDGE} px, resident"
    return Table(title, cases, cases[0].name, box**3, bandwidth)


def half_maps(box):
    """All curves of resident half maps, and their local resolution; the CPU's are waited for at 256³."""
    cupy = cuda.cupy()
    *maps, size = fsc.inputs(min(box, PARTICLE_BOX))
    times = box // len(maps[0])
    for axis in range(3):
        maps = [array.repeat(times, axis) for array in maps]
    size /= times
    device = [cupy.asarray(array) for array in maps]
    curve, places = "corrected_predicted", ((device, "GPU", 5), (maps, "CPU", 1))
    cases, wanted = [], {}
    for (half1, half2, mask), where, rounds in places if box <= PARTICLE_BOX else places[:1]:
        runs = {
            "gm.fsc": lambda a=half1, b=half2, m=mask: gpumask.fsc(a, b, m, voxel_size=size).curve(curve),
            "local resolution": lambda a=half1, b=half2: local_resolution.measure(a, b, size).values,
        }
        for name, function in runs.items():
            found = function()  # also the warm-up
            error = float(np.nanmax(np.abs(found - wanted[name]))) if name in wanted else None
            wanted.setdefault(name, found)
            cases.append(Case(f"{name}, {where}", timed(function), error, rounds))
    note = f"max |Δ| is between GPU and CPU: of the curve {curve}, and of the local resolution in Å."
    return Table(f"Half maps: {box}³, resident", cases, cases[0].name, note=note)


def regions(box, bandwidth):
    """Watershed of a particle with detail, resident; a larger box holds several of them, so that no voxels are equal.
    Bytes are those of kernels/watershed.cu."""
    cupy = cuda.cupy()
    edge = min(box, PARTICLE_BOX)
    volume = np.tile(particle(edge) + watershed.detail(edge), (box // edge,) * 3)
    device = cupy.asarray(volume)
    foreground = gpumask.mask.threshold(device, LEVEL)

    def body():
        return backend.of(device).watershed(device, foreground, True)[0]

    wanted = gpumask.watershed.label(volume, LEVEL)
    share = float((wanted > 0).mean())
    runs = [
        ("gpumask, GPU", lambda: gpumask.watershed.label(device, LEVEL), 5),
        ("its kernels, in the whole box", body, 5),
        ("gpumask, CPU", lambda: gpumask.watershed.label(volume, LEVEL), 3),
    ]
    cases = []
    for name, function, rounds in runs:
        error = float((backend.to_numpy(function()) != wanted).sum())  # also the warm-up
        cases.append(Case(name, timed(function), error, rounds, bytes=31 + 12 * share))
    note = (
        f"{wanted.max()} regions in {100 * share:.0f} % of the box. max |Δ| counts voxels that differ from the CPU's."
    )
    return Table(f"Watershed: {box}³, resident", cases, cases[0].name, box**3, bandwidth, note)


def resident_particle(box):
    """The particle in a box of any size, on the device."""
    cupy = cuda.cupy()
    device = cupy.asarray(particle(min(box, PARTICLE_BOX)))
    for axis in range(3):
        device = device.repeat(-(-box // PARTICLE_BOX), axis)
    return cupy.ascontiguousarray(device[:box, :box, :box])


def against_peers(box, bandwidth):
    """threshold → dilation → soft edge of a particle, resident on the device."""
    cupy = cuda.cupy()
    device = resident_particle(box)
    volume = device.get()

    def ours(array):
        return gpumask.mask.soft_mask(gpumask.mask.threshold(array, LEVEL), DILATION, SOFT_EDGE)

    def edt(array, cucim=False):
        if cucim:
            from cucim.core.operations.morphology import distance_transform_edt
        else:
            from cupyx.scipy.ndimage import distance_transform_edt

        away = distance_transform_edt(array < LEVEL, float64_distances=False)
        mask = (away <= DILATION).astype(cupy.float32)
        edge = (away > DILATION) & (away < DILATION + SOFT_EDGE)
        return cupy.where(edge, 0.5 + 0.5 * cupy.cos(math.pi * (away - DILATION) / SOFT_EDGE), mask)

    got = ours(device).get()
    error = None
    cases = []
    if box <= CPU_BOX:
        wanted = ours(volume)
        error = float(np.abs(got - wanted).max())
        cases.append(Case("gpumask, CPU", lambda: ours(volume), 0.0, 3))
    cases.insert(0, Case("gpumask, GPU", timed(lambda: ours(device), CALLS), error, 5, CALLS))
    if box <= EDT_BOX:
        off = float(np.abs(edt(device).get() - got).max())
        cases.append(Case("cupyx EDT + cosine, GPU", timed(lambda: edt(device)), off, 5))
    if _has("cucim"):
        cases.append(Case("cuCIM EDT + cosine, GPU", timed(lambda: edt(device, cucim=True)), None, 5))
    share = 100 * float((got > 0).mean())
    title = f"A mask: {box}³, dilation {DILATION} px, edge {SOFT_EDGE} px, resident"
    note = f"The mask fills {share:.0f} % of the box. A copy moves {bandwidth / 1e9:.0f} GB/s."
    return Table(title, cases, "gpumask, GPU", box**3, bandwidth, note)


def batches(box, count):
    """Masks of many maps from disk to disk, and what the disk, the bus and the device alone take for them."""
    cupy = cuda.cupy()
    folder = Path(tempfile.mkdtemp(prefix="gpumask-bench-", dir=os.environ.get("GPUMASK_BENCH_FOLDER")))
    try:
        maps = folder / "maps"
        maps.mkdir()
        device = gpumask.Volume(resident_particle(box), 1.0)
        host = device.data.get()
        paths = [maps / f"map{number:03}.mrc" for number in range(count)]
        for number, path in enumerate(paths):
            io.write(path, gpumask.Volume(np.roll(host, number, axis=2), 1.0))
        recipe = gpumask.MaskRecipe(threshold=str(LEVEL), dilation=f"{DILATION}px", soft_edge=f"{SOFT_EDGE}px")
        mask = pipeline.make(device, recipe).volume.data.get()
        pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(host.nbytes), np.float32, host.size).reshape(host.shape)
        there = cupy.empty_like(device.data)
        run = batch._batch(folder, maps, "--device", "cuda")
        disk = ["read alone, past the system's cache", "write and fsync alone, rows that are not 0"]
        bus = ["pinned copy to the device alone", "pinned copy from the device alone"]
        cases = [
            Case(batch.BATCH, run, batch._error(folder, mask, run), 3, count),
            Case(disk[0], batch._read(paths), None, 3, count),
            Case(disk[1], batch._write(folder, batch.filled_bytes(mask), count), None, 3, count),
            Case(bus[0], timed(lambda: there.set(pinned), CALLS), None, 3, CALLS),
            Case(bus[1], timed(lambda: there.get(out=pinned), CALLS), None, 3, CALLS),
            Case("mask alone, resident", timed(lambda: pipeline.make(device, recipe)), None, 3),
        ]
        for case in cases:
            case.prepare = lambda: batch._prepare(folder, paths)
        yield Table(f"{count} maps of {box}³ from disk to disk; seconds for one map", cases, batch.BATCH)
        seconds = {case.name: statistics.median(case.seconds) for case in cases}
        shares = (
            ("share of the disk's rate", sum(seconds[name] for name in disk)),
            ("share of the bus's rate, both directions at a time", max(seconds[name] for name in bus)),
        )
        rows = [{"name": name, "measured": f"{alone / seconds[batch.BATCH]:.0%}"} for name, alone in shares]
        yield Findings("A batch against what it cannot do without", ("measured",), rows)
    finally:
        shutil.rmtree(folder)
