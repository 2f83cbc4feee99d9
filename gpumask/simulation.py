"""A simulated particle to try masks on: four domains, flexible and glycosylated, half maps, a mask base, a model."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from gpumask import units
from gpumask.errors import UsageError
from gpumask.units import DALTON_PER_ANGSTROM3

LABELS = {"solvent": 0, "body": 1, "head": 2, "foot": 3, "arm": 4, "glycans": 5}

EXTENT = 220.0  # Å; the smallest box edge that holds the particle with room for a soft edge around it
RESIDUE_MASS = 110.0  # Da, mean of proteins
RESIDUE_VOLUME = RESIDUE_MASS / DALTON_PER_ANGSTROM3  # Å³
SUGAR_MASS = 180.0  # Da, between N-acetylglucosamine (203) and mannose (162) as bound
ATOM_SIGMA = 1.1  # Å; an unsharpened map of B = 8 pi² sigma² = 96 Å²
SMOOTHING = 2.0  # Å; ChimeraX `volume gaussian sDev 2`
SOLVENT_LEVEL = 0.02  # of the smoothed noise-free density; below it a voxel belongs to no domain
CONTOUR = 0.10  # of the smoothed map; where the head is segmented
RESOLUTION = 4.0  # Å, at which the FSC of the body falls to 0.143
COPIES = 100  # poses averaged for a flexible domain

CHAINS = {"body": "A", "head": "B", "foot": "C", "arm": "D", "glycans": "EFGHIJK"}  # of the model; a glycan is a chain
# Residues whose heavy atoms are as many as the points that one stands for; a sugar hangs on the last of asparagine's.
LEUCINE = ("N", "CA", "C", "O", "CB", "CG", "CD1", "CD2")
ASPARAGINE = ("N", "CA", "C", "O", "CB", "CG", "OD1", "ND2")
# From the root on; C1 is bound to what comes before, the last atom to the C1 that follows: the core of every N-glycan.
# N-acetylglucosamine lacks the three atoms of its acetyl group.
SUGARS = (
    ("NAG", ("C1", "C2", "C3", "C4", "C5", "C6", "N2", "O3", "O5", "O6", "O4")),
    ("NAG", ("C1", "C2", "C3", "C4", "C5", "C6", "N2", "O3", "O5", "O6", "O4")),
    ("BMA", ("C1", "C2", "C3", "C4", "C5", "C6", "O2", "O4", "O5", "O6", "O3")),
    ("MAN", ("C1", "C2", "C3", "C4", "C5", "C6", "O2", "O4", "O5", "O6", "O3")),
)

HEADING = (
    "TITLE     A SIMULATED PARTICLE: A SIMULATION, NOT A STRUCTURE",
    "EXPDTA    THEORETICAL MODEL",
    "REMARK   2",
    "REMARK   2 RESOLUTION. NOT APPLICABLE.",
    "REMARK 999",
    "REMARK 999 A SIMULATION, NOT A STRUCTURE. THE ATOMS ARE THE POINTS THAT A",
    "REMARK 999 SIMULATED MAP IS MADE OF, UNDER LEGAL NAMES. THEY OBEY NO SEQUENCE,",
    "REMARK 999 NO FOLD AND NO CHEMISTRY. LINK RECORDS SAY WHICH SUGARS ARE BOUND.",
)
CRYSTAL = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1"  # what the PDB writes for none
B_FACTOR = 8 * np.pi**2 * ATOM_SIGMA**2  # Å²


class Stub(NamedTuple):
    """An N-glycan of the simulated particle.

    Attributes
    ----------
    root : tuple of int
        The residue of the head that carries it, and which of its eight points.
    sugars : ndarray, (sugars, 11, 3)
        Points from the root outwards, (z, y, x) in Å from the box centre, those of a sugar likewise.
    """

    root: tuple[int, int]
    sugars: np.ndarray


@dataclass(frozen=True, eq=False)
class Particle:
    """A simulated particle; see `particle` for what each part stands for.

    Attributes
    ----------
    density : ndarray of float32, (z, y, x)
        The particle without noise; the maximum is 1.
    labels : ndarray of uint8, (z, y, x)
        The domain each voxel belongs to, numbered as in `LABELS`.
    half1, half2 : ndarray of float32, (z, y, x)
        Unmasked half maps: density plus independent noise.
    head_base : ndarray of float32
        Mask base of the head, cropped as Segger saves selected regions.
    offset : tuple of int
        Voxel (z, y, x) of the box at which `head_base` begins.
    fulcrum : tuple of float
        Where the head hinges on the body: (z, y, x) in px from the corner.
    voxel_size : float
        Å.
    masses : dict
        kDa of body, head, foot, arm and glycans.
    residues : dict of ndarray, (residues, 8, 3)
        Points of body, head, foot and arm where their motion leaves them on average, (z, y, x) in Å from the box
        centre; see `model_text`.
    stubs : tuple of Stub
        The glycans, likewise.
    """

    density: np.ndarray
    labels: np.ndarray
    half1: np.ndarray
    half2: np.ndarray
    head_base: np.ndarray
    offset: tuple[int, int, int]
    fulcrum: tuple[float, float, float]
    voxel_size: float
    masses: dict[str, float]
    residues: dict[str, np.ndarray]
    stubs: tuple[Stub, ...]

    @property
    def head(self):
        """Voxels of the head's protein, bool (z, y, x)."""
        return self.labels == LABELS["head"]


@dataclass(frozen=True)
class _Domain:
    """An ellipsoid of protein; lengths in Å, positions (z, y, x) from the box centre."""

    centre: tuple
    semi_axes: tuple  # the first along `axis`
    axis: tuple
    hinge: tuple  # the point that its motion leaves fixed
    motion: float  # degrees, standard deviation of the rotation about each axis


# Head, foot and body radiate from (0, 22, 0) in the plane of y and x; the arm goes past the body's far end.
DOMAINS = {
    "body": _Domain((0, -4, 0), (42, 33, 31), (0, 1, 0), (0, 0, 0), 0.0),
    "foot": _Domain((-6, 45, 39), (27, 22, 21), (0, 0.5, 0.87), (-2, 31, 16), 2.0),
    "head": _Domain((8, 46, -41), (30, 25, 24), (0, 0.5, -0.87), (3, 32, -16), 6.0),
    "arm": _Domain((10, -66, 12), (30, 13, 12), (0.2, -0.87, 0.45), (4, -44, 4), 15.0),
}
GLYCANS = 7


def particle(box=160, voxel_size=1.4, seed=0):
    """Simulate a particle with flexible domains, its half maps and a mask base of its head.

    **A simulation, not a structure**: the points obey no sequence, no fold and no chemistry, and no image
    was formed or aligned. It has what a mask meets: domains of protein density that touch, blur towards
    their ends and carry sugars.

    * *Shape.* That of the spliceosomal tri-snRNP, smaller: head, foot and body radiate from the centre, the
      arm extends past the distal end of the body. Some 180 Å long whatever the box; about 269 kDa in total
      (body 146, head 61, foot 42, arm 16, glycans 3 to 5) at 0.81 Da/Å³.
    * *Texture.* Each domain is an ellipsoid packed with helices at least 9 Å apart and with coil between
      them, eight points a residue, blurred by a Gaussian of 1.1 Å (B = 96 Å²): helices show as at 4 Å.
    * *Motion.* Foot, head and arm are averages over rigid rotations about their hinges with standard
      deviations of 2, 6 and 15 degrees about each axis, as where the alignment follows the body.
    * *Glycans.* Seven N-glycan stubs of two to four sugars stand 10 to 21 Å out of the far side of the
      head. They swing about their roots on top of the head's motion, so that their density is weak.
    * *Half maps.* ``half = density + noise``. The noise of the halves is independent, Gaussian and
      stationary, with the power spectrum ``N(s) = N0 (1 + 10 exp(-(40 s)²) + (4 s)²)``, s in 1/Å: a peak at
      low resolution, a rapid fall, a steady rise. N0 is such that the FSC of the body, ``S / (S + f N)``
      with S its power and f its share of the box, is 0.143 at 4 Å (or at 2.5 voxels if that is coarser).
    * *Mask base.* The mean of the half maps smoothed by a Gaussian of 2 Å (ChimeraX: ``volume gaussian sDev
      2``), kept where it is >= 0.10 in the head's protein (one piece; glycans not selected), zero
      elsewhere, and cropped to the bounding box plus two voxels, as Segger saves selected regions.

    Parameters
    ----------
    box : int
        Box edge, px; ``box * voxel_size`` must be at least 220 Å.
    voxel_size : float
        Å. Above 2 Å the box cannot hold 4 Å, and the texture is coarser.
    seed : int
        The same seed gives the same bytes (with the same numpy and scipy).

    Returns
    -------
    Particle

    Raises
    ------
    UsageError
        The box is too small for the particle.
    """
    if not box * voxel_size >= EXTENT:
        raise UsageError(
            f"the simulated particle needs a box of at least {EXTENT:g} Å, got {box} px x {voxel_size:g} Å = "
            f"{box * voxel_size:g} Å: use a larger box"
        )
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3)]
    points, masses, residues, stubs = _points(streams[0])
    parts = {name: _density(*p, box, voxel_size) for name, p in points.items()}
    density = sum(parts.values())
    scale = 1 / density.max()
    density *= scale
    labels = _labels(parts, scale, voxel_size)

    noise_power = _noise_power(parts["body"] * scale, labels == LABELS["body"], voxel_size)
    half1, half2 = (density + _noise(rng, box, noise_power) for rng in streams[1:])
    smoothed = ndimage.gaussian_filter((half1 + half2) * np.float32(0.5), SMOOTHING / voxel_size)
    head_base, offset = _head_base(smoothed, labels == LABELS["head"])
    fulcrum = tuple(box // 2 + h / voxel_size for h in DOMAINS["head"].hinge)
    return Particle(
        density, labels, half1, half2, head_base, offset, fulcrum, voxel_size, masses, residues, tuple(stubs)
    )


def model_text(particle):
    """The simulated particle as an atomic model, the text of a PDB file.

    **A simulation, not a structure**: its atoms are the points that the density is made of, under legal names, so that
    the model lies in the density; they obey no sequence, no fold and no chemistry, and bonds have no length to rely on.
    What is bound to what is said by LINK records.

    * *Protein.* Body, head, foot and arm are the chains A, B, C and D. The eight points of a residue are the eight
      heavy atoms of leucine, or of asparagine where a glycan is rooted; neighbours in number need not be so in space.
    * *Glycans.* A chain each, E to K, of up to NAG, NAG, BMA and MAN: eleven atoms a sugar. LINK binds ND2 of the
      asparagine to C1 of the first, then O4 (of BMA O3, as in every N-glycan) to the next C1.
    * *Pose.* The mean one: flexible domains are drawn once, where the map shows an average over their motion.
    * *Frame.* Å from the box corner as in the header's frame: voxel i of an axis at ``i * voxel_size``, its centre.
    * *B factor.* That of the blur of every point, ``8 pi² sigma²`` at sigma = 1.1 Å; not that of the motion.

    Parameters
    ----------
    particle : Particle

    Returns
    -------
    str
        Some 19500 atoms. The same bytes for the same particle.
    """
    chains = _chains(particle)
    lines = [*HEADING, *_links(chains, particle.stubs), CRYSTAL, *_atoms(chains), "END"]
    return "".join(f"{line:<80}\n" for line in lines)


def _chains(particle):
    """Lists of residues by the letter of their chain; a residue is its record, name, atoms and their points in Å."""
    middle = (len(particle.density) // 2,) * 3
    corner = np.array(units.corner_px_to_angstrom(middle, (particle.voxel_size,) * 3))
    chains = {}
    for name in sorted(particle.residues, key=CHAINS.get):
        points = particle.residues[name] + corner
        chains[CHAINS[name]] = [("ATOM", "LEU", LEUCINE, residue) for residue in points]
    for letter, stub in zip(CHAINS["glycans"], particle.stubs, strict=True):
        number, atom = stub.root
        carrier = particle.residues["head"][number] + corner
        order = np.argsort(np.arange(len(carrier)) == atom, kind="stable")  # the root is ND2, the last
        chains[CHAINS["head"]][number] = "ATOM", "ASN", ASPARAGINE, carrier[order]
        chains[letter] = [
            ("HETATM", *sugar, points) for sugar, points in zip(SUGARS, stub.sugars + corner, strict=False)
        ]
    return chains


def _links(chains, stubs):
    """LINK records, from each root along its glycan."""
    for letter, stub in zip(CHAINS["glycans"], stubs, strict=True):
        number = stub.root[0]
        before = CHAINS["head"], number + 1, *chains[CHAINS["head"]][number][1:]
        for i, residue in enumerate(chains[letter]):
            here = letter, i + 1, *residue[1:]
            length = np.linalg.norm(here[-1][0] - before[-1][-1])
            yield f"LINK        {_end(before, -1)}{'':16}{_end(here, 0)}     1555   1555 {length:5.2f}"
            before = here


def _end(residue, atom):
    """One end of a LINK record."""
    letter, number, name, atoms, _ = residue
    return f" {atoms[atom]:<3} {name} {letter}{number:>4}"


def _atoms(chains):
    """ATOM, HETATM and TER records, x before y before z."""
    serial = 1
    for letter, residues in chains.items():
        for number, (record, name, atoms, points) in enumerate(residues, 1):
            for atom, (z, y, x) in zip(atoms, points, strict=True):
                where = f"{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{B_FACTOR:6.2f}"
                yield f"{record:<6}{serial:>5}  {atom:<3} {name} {letter}{number:>4}    {where}{atom[0]:>12}"
                serial += 1
        if record == "ATOM":
            yield f"TER   {serial:>5}      {name} {letter}{number:>4}"
            serial += 1


def _points(rng):
    """Points of every domain in all its poses, (n, 3) Å from the box centre, with weights; masses in kDa; residues and
    glycans in the mean pose."""
    weighted, masses, by_residue = {}, {}, {}
    packed = np.empty((0, 3))  # where residues are: a domain leaves room for the ones before it
    for name, domain in DOMAINS.items():
        atoms, packed, residues = _pack(rng, domain, packed)
        masses[name] = residues * RESIDUE_MASS / 1000
        by_residue[name] = atoms.reshape(residues, 8, 3)
        motions = _motions(rng, domain.motion) if domain.motion else Rotation.identity(1)
        weighted[name] = _posed(atoms, motions, domain.hinge)
        if name == "head":
            weighted["glycans"], stubs = _glycans(rng, atoms, domain, motions)
            masses["glycans"] = sum(len(stub.sugars) for stub in stubs) * SUGAR_MASS / 1000
    return weighted, masses, by_residue, stubs


def _motions(rng, degrees):
    return Rotation.from_rotvec(np.radians(degrees) * rng.standard_normal((COPIES, 3)))


def _posed(atoms, motions, pivot):
    """All atoms in all poses and the weight of one of them."""
    poses = [motion.apply(atoms - pivot) + pivot for motion in motions]
    return np.concatenate(poses), 1 / len(poses)


def _frame(axis):
    """Rows: a unit vector along `axis` and two at right angles to it and to each other."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    side = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    side /= np.linalg.norm(side)
    return np.stack([axis, side, np.cross(axis, side)])


def _pack(rng, domain, packed):
    """Fill an ellipsoid with helices, then with coil, to the density of protein.

    Returns the atoms (eight a residue), the residues packed so far, and the number of new residues.
    """
    frame = _frame(domain.axis)
    semi_axes = np.asarray(domain.semi_axes, float)
    wanted = round(4 / 3 * np.pi * semi_axes.prod() / RESIDUE_VOLUME)
    before = len(packed)

    def fits(positions, depth, apart):
        """Whether each position is `depth` Å under the surface and `apart` Å from every packed residue."""
        inside = (((positions - domain.centre) @ frame.T / (semi_axes - depth)) ** 2).sum(-1) < 1
        if not inside.any() or not len(packed):
            return inside
        squared = ((positions[:, None] - packed) ** 2).sum(-1).min(1)
        return inside & (squared > apart * apart)

    def anywhere(count):
        return domain.centre + rng.uniform(-1, 1, (count, 3)) * semi_axes @ frame

    atoms = []
    for length in (26, 22, 18, 15, 12, 9):
        for start, direction in zip(anywhere(250), rng.standard_normal((250, 3)), strict=True):
            direction /= np.linalg.norm(direction)
            axis = start + 1.5 * np.arange(length)[:, None] * direction  # 1.5 Å a residue
            if len(packed) - before + length <= wanted and fits(axis, 4.0, 9.0).all():
                packed = np.concatenate([packed, axis])
                atoms.append(_helix_atoms(rng, axis, _frame(direction)))
    here, stuck = None, 0
    while len(packed) - before < wanted and stuck < 50:
        if here is None:
            tries = anywhere(16)
        else:
            steps = rng.standard_normal((16, 3))
            tries = here + 3.8 * steps / np.linalg.norm(steps, axis=1, keepdims=True)  # Å between C-alphas
        free = tries[fits(tries, 2.0, 3.7)]
        if len(free):
            here, stuck = free[0], 0
            packed = np.concatenate([packed, free[:1]])
            atoms.append(here + 1.3 * rng.standard_normal((8, 3)))
        else:
            here, stuck = None, stuck + 1
    return np.concatenate(atoms), packed, len(packed) - before


def _helix_atoms(rng, axis, frame):
    """Eight points a residue of an alpha helix (100 degrees a residue): four backbone, four side chain."""
    count = len(axis)
    turn = np.radians(100) * (np.arange(count)[:, None] + np.arange(4) / 4)
    radii = np.concatenate([np.full((count, 4), 2.0), np.tile([3.2, 3.9, 4.6, 5.3], (count, 1))], axis=1)
    angles = np.concatenate([turn, turn[:, :1] + rng.normal(0, 0.25, (count, 4))], axis=1)
    climb = np.tile(1.5 * np.arange(4) / 4, (count, 1))
    rise = np.concatenate([climb, rng.normal(0, 1.0, (count, 4))], axis=1)
    local = np.stack([rise, radii * np.cos(angles), radii * np.sin(angles)], axis=-1)
    return (axis[:, None] + local @ frame).reshape(-1, 3)


def _glycans(rng, atoms, head, motions):
    """Points of the N-glycans over all poses with their weight, and the glycans in the mean pose."""
    outward = np.subtract(head.centre, DOMAINS["body"].centre)
    frame = _frame(outward)
    poses, stubs = [], []
    for i in range(GLYCANS):
        # A golden-angle spiral over the far side of the head spreads the sites.
        cosine, around = 1 - 0.9 * (i + 0.5) / GLYCANS, np.pi * (3 - np.sqrt(5)) * i
        sine = np.sqrt(1 - cosine * cosine)
        normal = np.array([cosine, sine * np.cos(around), sine * np.sin(around)]) @ frame
        farthest = ((atoms - head.centre) @ normal).argmax()
        root = atoms[farthest]
        length = rng.integers(2, 5)
        along = normal + 0.25 * rng.standard_normal(3)
        along /= np.linalg.norm(along)
        rings = root + 5.2 * np.arange(1, length + 1)[:, None] * along  # 5.2 Å from sugar to sugar
        sugars = rings[:, None] + 1.4 * rng.standard_normal((length, 11, 3))
        chain = sugars.reshape(-1, 3)
        swings = _motions(rng, 10.0)
        swung = [swing.apply(chain - root) + root for swing in swings]
        poses += [move.apply(s - head.hinge) + head.hinge for move, s in zip(motions, swung, strict=True)]
        outwards = np.argsort((sugars - root) @ along, axis=1)  # so that atoms that are bound are near each other
        stubs.append(Stub(divmod(int(farthest), 8), np.take_along_axis(sugars, outwards[..., None], axis=1)))
    return (np.concatenate(poses), 1 / COPIES), stubs


def _density(positions, weight, box, voxel_size):
    """Points shared out among the eight voxels around each, then blurred; float32 (z, y, x)."""
    grid = positions / voxel_size + box // 2
    low = np.floor(grid).astype(np.int64)
    part = grid - low
    density = np.zeros(box**3)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, part, 1 - part).prod(1) * weight
        index = np.ravel_multi_index((low + corner).T, (box,) * 3, mode="clip")
        density += np.bincount(index, share, box**3)
    return ndimage.gaussian_filter(density.reshape((box,) * 3).astype(np.float32), ATOM_SIGMA / voxel_size)


def _labels(parts, scale, voxel_size):
    """The domain with the highest smoothed density at each voxel; solvent where their sum is too low."""
    labels = np.zeros_like(parts["body"], np.uint8)
    highest, total = np.zeros_like(parts["body"]), np.zeros_like(parts["body"])
    for name, part in parts.items():
        smoothed = ndimage.gaussian_filter(part, SMOOTHING / voxel_size) * scale
        total += smoothed
        labels[smoothed > highest] = LABELS[name]
        np.maximum(highest, smoothed, out=highest)
    labels[total < SOLVENT_LEVEL] = LABELS["solvent"]
    return labels


def _frequency(box, voxel_size):
    """|s| in 1/Å of every coefficient of the half transform, (z, y, x)."""
    whole, half = fft.fftfreq(box, voxel_size), fft.rfftfreq(box, voxel_size)
    squared = whole[:, None, None] ** 2 + whole[:, None] ** 2 + half**2
    return np.sqrt(squared).astype(np.float32)


def _noise_power(body, region, voxel_size):
    """Mean |N|² of a half map's noise at every coefficient of the half transform; see `particle`."""
    box = len(body)
    frequency = _frequency(box, voxel_size)
    power = 1 + 10 * np.exp(-((40 * frequency) ** 2)) + (4 * frequency) ** 2
    target = 1 / max(RESOLUTION, 2.5 * voxel_size)
    shell = np.abs(frequency - target) < 0.5 / (box * voxel_size)
    signal = np.mean(np.abs(fft.rfftn(body))[shell] ** 2)
    noise = signal * (1 / 0.143 - 1) / region.mean()
    return power * (noise / power[shell].mean())


def _noise(rng, box, power):
    """Gaussian noise of the given power spectrum, float32 (z, y, x)."""
    white = fft.rfftn(rng.standard_normal((box,) * 3, dtype=np.float32))
    white *= np.sqrt(power / box**3)
    return fft.irfftn(white, (box,) * 3)


def _head_base(smoothed, head):
    """The selected density, cropped, and the voxel at which it begins."""
    pieces, _ = ndimage.label(head & (smoothed >= CONTOUR), np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    largest = sizes[1:].argmax() + 1
    selected = pieces == largest
    bounds = ndimage.find_objects(pieces, int(largest))[-1]
    crop = tuple(slice(max(b.start - 2, 0), b.stop + 2) for b in bounds)
    base = np.where(selected[crop], smoothed[crop], np.float32(0))
    return base, tuple(c.start for c in crop)
