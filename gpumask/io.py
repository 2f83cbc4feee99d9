"""MRC/CCP4 files in and out.

Every claim of a header is checked against the file and the machine before memory is reserved; a file that must not be
used as it is, is refused in one line. Outputs are written under a temporary name, fsynced and renamed.
"""

import bz2
import gzip
import hashlib
import math
import os
import secrets
import warnings
import zlib
from contextlib import contextmanager
from numbers import Real
from pathlib import Path

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from gpumask import backend, uncached, units
from gpumask._cpu.statistics import PIECE, of_chunks, survey
from gpumask.errors import (
    GpumaskError,
    GpumaskWarning,
    InputNotFound,
    InputRefused,
    OutputExists,
    UsageError,
    WriteFailed,
)
from gpumask.uncached import HEADER_BYTES
from gpumask.volume import Header, Volume

MODES = {0: np.dtype(np.int8), 1: np.dtype(np.int16), 2: np.dtype(np.float32), 6: np.dtype(np.uint16),
         12: np.dtype(np.float16)}  # fmt: skip
OUTPUT_MODES = {"float32": 2, "float16": 12, "int8": 0, "labels": 6}
PACKED_RATIO = {b"\x1f\x8b": 1100, b"BZ": 30000}  # what deflate and bzip2 can shrink data by at the most, and a bit
TRAILING_READ = 1 << 16
RIGHT_ANGLE = 0.01  # degrees
LABELS, LABEL_LENGTH = 10, 80
LONG_HEADER = 1 << 20  # bytes; a longer one is not read into memory
NOT_FINITE = "the data hold NaN or Inf, which no reader accepts"


def read(path, device="cpu", *, voxel_size=None, nan_to=None):
    """Read a map or mask.

    Parameters
    ----------
    path : str or Path
        MRC/CCP4, modes 0, 1, 2, 6, 12, either byte order, any axis order; may be gzip or bzip2.
    device : str
        Where the data is placed: ``cpu`` (default), ``cuda``, ``cuda:N`` or ``auto``.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); used instead of the header's, which may then be zero.
    nan_to : float, optional
        Value that replaces NaN and Inf, which are refused otherwise.

    Returns
    -------
    Volume
        float32 data as (z, y, x) in C order. Axes stored in another order (mapc/r/s) are put in order, NSTART with
        them. Oddities that do no harm (trailing bytes) are warned about.

    Raises
    ------
    InputNotFound, InputRefused
        The file is not there or must not be used: truncated, not an MRC file, complex, a crystal's grid (angles other
        than 90°), NaN or Inf, no cell, a stack, larger than memory.
    """
    volume, notes = load(path, voxel_size=voxel_size, nan_to=nan_to)
    for note in notes:
        warnings.warn(note, GpumaskWarning, stacklevel=2)
    return backend.place(volume, backend.choose(device)[0])


def load(path, *, voxel_size=None, nan_to=None):
    """:func:`read` onto the CPU, giving ``(volume, notes)`` where it would warn."""
    source = Slabs(path, voxel_size=voxel_size, nan_to=nan_to)
    return source.whole(), source.notes


class Slabs:
    """A map file that is read a few z planes at a time; its header is read and checked on the spot.

    Attributes
    ----------
    shape, voxel_size : tuple
        (z, y, x), Å.
    header : Header
    notes : list of str
        What :func:`read` would warn about, as far as it has been read.
    """

    def __init__(self, path, *, voxel_size=None, nan_to=None):
        if nan_to is not None and not (isinstance(nan_to, Real) and math.isfinite(nan_to)):
            raise UsageError(f"NaN can be replaced by a finite number only, got {nan_to!r}")
        if voxel_size is not None:
            voxel_size = units.voxel_edges(voxel_size)
        self.path, self.nan_to, self.notes = Path(path), nan_to, []
        with _refusals(self.path), _open(self.path) as (stream, size):
            header = _header(self.path, stream)
            self.stored, self.dtype, skip = _layout(self.path, header)
            self.start = HEADER_BYTES + skip
            needed = self.start + math.prod(self.stored) * self.dtype.itemsize
            _check_length(self.path, self.stored, needed, size)
            self.trailing = size - needed if size is not None else None
            self.order, voxel, self.header = _grid(self.path, header, voxel_size, self.notes)
        self.shape = tuple(self.stored[axis] for axis in self.order)
        self.voxel_size = _stored_voxel_size(voxel, self.shape)

    def _check_memory(self):
        """Refuse a box that is larger than what is free, as stored and as float32."""
        needed = math.prod(self.shape) * (self.dtype.itemsize + 4)
        available = backend.available_memory()
        if available is not None and needed > available:
            raise InputRefused(
                f"{self.path}: {units.by(self.stored)} voxels need {needed / 2**30:.1f} GiB, "
                f"{available / 2**30:.1f} GiB are free"
            )

    def whole(self, room=None):
        """The whole file as a Volume.

        Parameters
        ----------
        room : callable, optional
            ``room(size)`` gives memory for the file up to the end of its data, see :func:`gpumask.uncached.read`; the
            volume lies in it where the data are float32 as stored.
        """
        self._check_memory()
        with _refusals(self.path), _open(self.path) as (stream, size):
            if room is None or self.start > LONG_HEADER:
                stream.seek(self.start)
                data = self._read(stream, self.stored[0])
            else:
                data = self._read_image(stream, room, is_packed=size is None)
            data = data.transpose(self.order)
            self._note_trailing(stream)
        return Volume(self._cleaned(np.require(data, np.float32, "CA")), self.voxel_size, self.header)

    def slabs(self, planes):
        """Consecutive float32 arrays of at most `planes` z planes, from the first plane on."""
        if self.order[0] != 0:
            raise InputRefused(
                f"{self.path}: z is not the slowest axis of the file, so it cannot be read in slabs; rewrite it with "
                "axes x, y, z (1, 2, 3) or use a machine with more memory"
            )
        with _refusals(self.path), _open(self.path) as (stream, _):
            stream.seek(self.start)
            for first in range(0, self.shape[0], planes):
                data = self._read(stream, min(planes, self.shape[0] - first)).transpose(self.order)
                yield self._cleaned(np.ascontiguousarray(data, np.float32))
            self._note_trailing(stream)

    def _read(self, stream, sections):
        data = np.empty((sections, *self.stored[1:]), self.dtype)
        self._check_read(_read_into(stream, _bytes(data)), data.nbytes)
        return data

    def _read_image(self, stream, room, is_packed):
        count = math.prod(self.stored)
        size = self.start + count * self.dtype.itemsize
        memory = room(size)
        if is_packed:
            stream.seek(self.start)
            got = self.start + _read_into(stream, memoryview(memory)[self.start : size])
        else:
            got = uncached.read(stream.fileno(), memoryview(memory), size)
        self._check_read(got, size)
        return np.frombuffer(memory, self.dtype, count, self.start).reshape(self.stored)

    def _check_read(self, got, size):
        if got < size:
            raise InputRefused(
                f"{self.path}: truncated: the header claims {units.by(self.stored)} voxels, {size - got} bytes "
                "of them or more are missing; copy or download it again"
            )

    def _cleaned(self, data):
        bad = data.size - np.count_nonzero(np.isfinite(data))
        if bad:
            if self.nan_to is None:
                raise InputRefused(
                    f"{self.path}: {bad} voxels are NaN or Inf; repair the map or replace them with --nan-to 0"
                )
            data[~np.isfinite(data)] = self.nan_to
            self._note(f"{self.path}: {bad} NaN or Inf voxels set to {self.nan_to:g}")
        return data

    def _note_trailing(self, stream):
        """Say so where the file goes on after its data; the end of a packed file, with its checksum, is read here."""
        trailing, more = self.trailing, ""
        if trailing is None:
            try:
                trailing = len(stream.read(TRAILING_READ))
            except gzip.BadGzipFile as error:
                if not str(error).startswith("Not a gzipped file"):  # a wrong checksum
                    raise
                trailing, more = 1, "at least "
            more = "at least " if trailing == TRAILING_READ else more
        if trailing:
            self._note(f"{self.path}: {more}{trailing} byte{'s' * (trailing > 1)} after the data are ignored")

    def _note(self, text):
        if text not in self.notes:
            self.notes.append(text)


def unpacked(path, most):
    """The bytes of a file of another format, unpacked where it is gzip or bzip2.

    Parameters
    ----------
    path : str or Path
    most : int
        Bytes that such a file can have; one that is or unpacks to more is refused before it fills the memory.

    Raises
    ------
    InputNotFound, InputRefused
        The file is not there, is damaged, or holds more than `most` bytes or than the machine has room for.
    """
    path = Path(path)
    available = backend.available_memory()
    most = most if available is None else min(most, available // 4)  # beside what is made of them
    with _refusals(path), _open(path) as (stream, size):
        data = b"" if size is not None and size > most else stream.read(most + 1)
    if len(data) > most or (size or 0) > most:
        raise InputRefused(f"{path}: holds more than {most / 2**20:.0f} MiB unpacked, which is too much to read")
    return data


def write(path, volume, *, mode="float32", overwrite=False, label=None):
    """Write a volume as MRC (mode 2, ISPG 1, the volume's origin and NSTART, true statistics).

    Parameters
    ----------
    path : str or Path
        Output; never seen half-written.
    volume : Volume
        numpy or CuPy data.
    mode : str
        ``float32`` (default), ``float16``, ``int8`` for binary masks only, ``labels`` (uint16).
    overwrite : bool
        Replace an existing file.
    label : str, optional
        One more header label, at most 80 ASCII characters.

    Raises
    ------
    OutputExists
        The file is there and `overwrite` is not set.
    InputRefused
        Data that the mode cannot hold.
    WriteFailed
        The folder is missing or closed, or the disk is full; an older file is untouched.
    """
    write_files([(path, encode(volume, mode, label))], overwrite)


def encode(volume, mode="float32", label=None):
    """Header and data of the MRC file for `volume`, as two buffers."""
    return encode_pieces(volume, mode, label)[:2]


def encode_pieces(volume, mode="float32", label=None, known=None):
    """:func:`encode`, then of each piece of the data whether it has a byte other than 0, and the bytes of a piece;
    `known` is what the operation ``survey`` gives of the volume's data, where it has been made."""
    data = _as_mode(backend.to_numpy(volume.data), mode)
    found, filled = known if known and data.dtype == volume.data.dtype else survey(data)
    header = _encode_header(volume.shape, volume.voxel_size, volume.header, mode, label, found)
    return header, _bytes(data), filled, PIECE * data.itemsize


def encode_slabs(stream, shape, voxel_size, header, mode, label, slabs, write=None):
    """Write the MRC file of a volume that comes in slabs: ``slabs(write)`` calls ``write`` with consecutive slabs, and
    their bytes are passed on to the `write` that is given, which may leave zeros out, or to the stream's.

    The statistics of the header are those of the data as written, which is read once more for them.
    """
    write = write or stream.write
    stream.write(bytes(HEADER_BYTES))
    slabs(lambda slab: write(_bytes(_as_mode(slab, mode))))
    stream.truncate()
    dtype = MODES[OUTPUT_MODES[mode]]

    def written():
        stream.seek(HEADER_BYTES)
        for _ in range(shape[0]):
            yield np.frombuffer(stream.read(math.prod(shape[1:]) * dtype.itemsize), dtype)

    found = of_chunks(written)
    stream.seek(0)
    stream.write(_encode_header(shape, voxel_size, header, mode, label, found))


def _encode_header(shape, voxel_size, facts, mode, label, found):
    if not all(map(math.isfinite, found)):
        raise InputRefused(NOT_FINITE)
    labels = (*facts.labels[: LABELS - 1], label) if label else facts.labels[:LABELS]
    if not all(-(1 << 31) <= n < 1 << 31 for n in facts.nstart):
        raise InputRefused(f"NSTART {units.by(facts.nstart)} does not fit in a header")
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    for axis, n, edge, start, origin in zip("zyx", shape, voxel_size, facts.nstart, facts.origin, strict=True):
        header[f"n{axis}"] = header[f"m{axis}"] = n
        header["cella"][axis] = n * edge
        header[f"n{axis}start"] = start
        header["origin"][axis] = origin
    header["mode"] = OUTPUT_MODES[mode]
    header["cellb"]["alpha"] = header["cellb"]["beta"] = header["cellb"]["gamma"] = 90
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = found
    header["ispg"] = 1
    header["nversion"] = 20141
    header["map"] = b"MAP "
    header["machst"] = [0x44, 0x44, 0, 0]
    header["nlabl"] = len(labels)
    for number, text in enumerate(labels):
        header["label"][number] = text.encode("ascii", "replace")[:LABEL_LENGTH]
    return header.tobytes()


def _bytes(data):
    return memoryview(data.reshape(-1)).cast("B")


def write_files(files, overwrite=False):
    """Write several files so that either all of them appear, whole, or none does.

    Parameters
    ----------
    files : list of (path, chunks)
        ``chunks`` are bytes-like and written one after another, or a function that is called with the stream (which can
        be read and sought). Each file is written under a temporary name in the folder of its path and fsynced; then all
        are renamed.
    overwrite : bool
        Replace existing files.
    """
    for path, _ in files:
        check_output(path, overwrite)
    given = {Path(os.path.realpath(path)): path for path, _ in files}  # a link stays one, its target is new
    files = [(Path(os.path.realpath(path)), chunks) for path, chunks in files]
    fresh, old, done = {}, {}, []  # path -> temporary file, path -> second name of the file to be replaced
    try:
        for path, chunks in files:
            with _temporary(path, fresh).open("x+b") as stream:
                if callable(chunks):
                    chunks(stream)
                else:
                    stream.writelines(chunks)
                stream.flush()
                os.fsync(stream.fileno())
        for path, _ in files:
            if path.exists() and len(files) > 1:
                _temporary(path, old).hardlink_to(path)
            _publish(fresh[path], path, overwrite)
            done.append(path)
    except OSError as error:
        for before in done:
            old.pop(before).replace(before) if before in old else before.unlink()
        if isinstance(error, GpumaskError):
            raise
        raise WriteFailed(
            f"{given[path]}: could not be written: {error.strerror or error}; nothing was left behind"
        ) from error
    finally:
        for name in (*fresh.values(), *old.values()):
            name.unlink(missing_ok=True)
    for folder in {path.parent for path, _ in files}:
        _sync_folder(folder)


def _publish(temporary, path, overwrite):
    """Give a finished file its name; without `overwrite` also another process's file of that name is not replaced."""
    if not overwrite:
        try:
            path.hardlink_to(temporary)
        except FileExistsError as error:
            raise OutputExists(f"{path}: has just been written by another program; choose another name") from error
        except OSError:  # a file system without hard links: the check before has to do
            temporary.replace(path)
        return
    temporary.replace(path)


def _temporary(path, names):
    """A new name in the folder of `path`, kept in `names`; short, since `path` may be as long as names may be."""
    names[path] = path.with_name(f".gpumask-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    return names[path]


def check_output(path, overwrite=False):
    """Raise where `path` cannot be an output: a missing folder, an existing file without `overwrite`, a packed name."""
    path = Path(path)
    if path.suffix in (".gz", ".bz2"):
        raise UsageError(f"{path}: outputs are not compressed: give a name without {path.suffix}")
    if not path.parent.is_dir():
        raise WriteFailed(f"{path}: the folder {path.parent} is not there; make it first")
    if path.is_dir():
        raise WriteFailed(f"{path}: is a folder; give the name of a file")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise OutputExists(f"{path}: is already there; choose another name or overwrite it with --force")


def sha256(path):
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _refusals(path):
    """Errors of reading, in the words of this package."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputRefused(f"{path}: damaged compressed file ({error}); copy or download it again") from error
    except OSError as error:
        if isinstance(error, InputRefused):
            raise
        if error.errno is None:  # bz2's way to say so
            raise InputRefused(f"{path}: damaged compressed file ({error}); copy or download it again") from error
        raise InputNotFound(f"{path}: cannot be read: {error.strerror or error}; check the name") from error


@contextmanager
def _open(path):
    """The unpacked stream, and the length of the file, None where it is packed."""
    with path.open("rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        magic = raw.read(3)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream, None
        elif magic == b"BZh":
            with bz2.BZ2File(raw) as stream:
                yield stream, None
        else:
            yield raw, size


def _header(path, stream):
    raw = stream.read(HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise InputRefused(f"{path}: not an MRC file: {len(raw)} bytes, the header alone takes {HEADER_BYTES}")
    headers = [np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0] for order in "<>"]
    if raw[212] == 0x11:  # the machine stamp of a big-endian writer
        headers.reverse()
    for header in headers:
        if int(header["mode"]) in (*MODES, 3, 4, 101) and all(0 < int(header[n]) < 1 << 20 for n in ("nx", "ny", "nz")):
            break
    else:
        raise InputRefused(f"{path}: not an MRC file: the header makes no sense in either byte order")
    if raw[208:211] != b"MAP":
        raise InputRefused(f"{path}: not an MRC file: no 'MAP' identifier in the header; convert it first")
    return header


def _layout(path, header):
    """Shape as stored (slowest first), dtype, bytes between header and data."""
    mode = int(header["mode"])
    if mode in (3, 4):
        raise InputRefused(f"{path}: complex data (mode {mode}), a transform; give the map in real space")
    if mode not in MODES:
        raise InputRefused(f"{path}: mode {mode} is not supported; convert it to mode 2 (float32)")
    shape = tuple(int(header[n]) for n in ("nz", "ny", "nx"))
    group, planes = int(header["ispg"]), int(header["mz"])
    if 401 <= group <= 630 and planes > 0 and shape[0] != planes:
        raise InputRefused(f"{path}: a stack of {shape[0] // planes} volumes; give one volume")
    if group == 0 and planes == 1 and shape[0] > 1:
        raise InputRefused(f"{path}: a stack of {shape[0]} images, not a volume")
    skip = int(header["nsymbt"])
    if skip < 0:
        raise InputRefused(f"{path}: the header claims an extended header of {skip} bytes; the file is damaged")
    return shape, MODES[mode].newbyteorder(header.dtype["mode"].byteorder), skip


def _check_length(path, shape, needed, size):
    """Refuse a file too short for what its header claims; of a packed file (`size` None) what could be in it counts."""
    held, most = size, ""
    if size is None:
        with path.open("rb") as raw:
            held, most = path.stat().st_size * PACKED_RATIO[raw.read(2)], "at most "
    if held < needed:
        raise InputRefused(
            f"{path}: truncated: the header claims {units.by(shape)} voxels = {needed} bytes in all, the file holds "
            f"{most}{held}; copy or download it again"
        )


def _grid(path, header, voxel_size, notes):
    """Order that brings the stored axes to z, y, x; voxel size (z, y, x), Å; header facts."""
    axes = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    if axes == [0, 0, 0]:
        axes = [3, 2, 1]
    if sorted(axes) != [1, 2, 3]:
        raise InputRefused(f"{path}: axes mapc, mapr, maps = {axes[::-1]} are not an order of 1, 2, 3; damaged header")
    angles = [float(header["cellb"][name]) for name in ("alpha", "beta", "gamma")]
    if any(angles) and any(not abs(angle - 90) <= RIGHT_ANGLE for angle in angles):
        raise InputRefused(
            f"{path}: cell angles {', '.join(f'{a:.4g}' for a in angles)}°, a crystal's grid; only boxes with right "
            "angles are supported"
        )
    order = [axes.index(axis) for axis in (3, 2, 1)]
    stored = [int(header[name]) for name in ("nz", "ny", "nx")]
    sampled = [int(header[name]) for name in ("mz", "my", "mx")]
    cell = [float(header["cella"][axis]) for axis in "zyx"]
    voxel = voxel_size
    if voxel is None:
        voxel = [edge / (m if m > 0 else stored[i]) for edge, m, i in zip(cell, sampled, order, strict=True)]
    if not all(units.SMALLEST_VOXEL <= v <= units.LARGEST_VOXEL for v in voxel):
        raise InputRefused(
            f"{path}: the header's cell is {units.by(cell, 'g')} Å, so the voxel size is unknown; "
            "give it with --voxel-size"
        )
    starts = [int(header[name]) for name in ("nzstart", "nystart", "nxstart")]
    origin = tuple(float(header["origin"][axis]) for axis in "zyx")
    if not all(math.isfinite(o) for o in origin):
        notes.append(f"{path}: the header's origin is not a number and is taken as 0")
        origin = (0.0, 0.0, 0.0)
    labels = [bytes(text).decode("ascii", "replace").rstrip("\0 ") for text in header["label"]]
    facts = Header(
        origin=origin,
        nstart=tuple(starts[i] for i in order),
        mode=int(header["mode"]),
        labels=tuple(text for text in labels[: max(0, min(int(header["nlabl"]), LABELS))] if text),
    )
    return order, voxel, facts


def _stored_voxel_size(voxel_size, shape):
    """The voxel size that a header with MX = NX gives back: writing and reading is then the identity."""
    return tuple(float(np.float32(v * n)) / n for v, n in zip(voxel_size, shape, strict=True))


def _read_into(stream, buffer):
    """Fill `buffer` from `stream`; the number of bytes there were."""
    done = 0
    while done < len(buffer) and (count := stream.readinto(buffer[done : done + (1 << 26)])):
        done += count
    return done


def _as_mode(data, mode):
    """`data` in C order and the dtype of the mode; refused where values would not survive."""
    if mode not in OUTPUT_MODES:
        raise UsageError(f"mode must be one of {', '.join(OUTPUT_MODES)}, got {mode!r}")
    wanted = MODES[OUTPUT_MODES[mode]]
    if data.dtype.kind not in "biuf":
        raise InputRefused(f"only real numbers can be written, got {data.dtype}")
    if data.dtype == wanted == np.float32:  # whether all are finite, their statistics say
        return np.ascontiguousarray(data)
    if mode == "int8" and not np.isin(data, (0, 1)).all():
        raise InputRefused("int8 holds binary masks only, this one has a soft edge; write float32 or float16")
    if mode == "labels" and not (data.min() >= 0 and data.max() <= 65535 and (data == np.floor(data)).all()):
        raise InputRefused("labels must be whole numbers from 0 to 65535; write float32")
    if not np.isfinite(data).all():
        raise InputRefused(NOT_FINITE)
    low, high = float(data.min()), float(data.max())
    limit = float(np.finfo(wanted if wanted.kind == "f" else np.float32).max)
    if max(-low, high) > limit:
        raise InputRefused(f"{mode} reaches ±{limit:g}, the data go from {low:g} to {high:g}; scale them")
    return np.ascontiguousarray(data, wanted)


def _sync_folder(folder):
    """Make the renaming itself last; file systems that cannot sync a folder are left as they are."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
