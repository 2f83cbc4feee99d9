"""The simulated particle has the shape, the signal and the noise that its docstring states."""

import numpy as np
import oracles
import pytest
from scipy import ndimage

from gpumask import simulation
from gpumask.errors import UsageError
from gpumask.simulation import LABELS, model_text, particle

BOX, VOXEL = 160, 1.4
COLUMN = 0.0005 + 1e-9  # Å: coordinates have three digits after the point
BASE_THRESHOLD, DILATION, SOFT_EDGE = 0.05, 5, 17  # px; the tutorial's mask of the head


@pytest.fixture(scope="module")
def simulated():
    return particle(BOX, VOXEL)


@pytest.fixture(scope="module")
def coarse():
    return particle(88, 2.5)


@pytest.fixture(scope="module")
def base(simulated):
    """The mask base pasted back into the box."""
    whole = np.zeros_like(simulated.density)
    crop = tuple(slice(o, o + n) for o, n in zip(simulated.offset, simulated.head_base.shape, strict=True))
    whole[crop] = simulated.head_base
    return whole


def shells(array):
    """Shell number of each coefficient of the half transform of a cube."""
    n = len(array)
    whole, half = np.fft.fftfreq(n, 1 / n), np.fft.rfftfreq(n, 1 / n)
    return np.rint(np.sqrt(whole[:, None, None] ** 2 + whole[:, None] ** 2 + half**2)).astype(int).ravel()


def shell_sums(array, values):
    return np.bincount(shells(array), values.ravel())[: len(array) // 2 + 1]


def resolution_at(simulated, label):
    """Å of the first shell where the FSC of one domain, under a narrow soft mask, is below 0.143."""
    mask = ndimage.gaussian_filter((simulated.labels == LABELS[label]).astype(np.float32), 1.5)
    a, b = np.fft.rfftn(simulated.half1 * mask), np.fft.rfftn(simulated.half2 * mask)
    cross, power = shell_sums(mask, (a * b.conj()).real), [shell_sums(mask, abs(f) ** 2) for f in (a, b)]
    fsc = cross / np.sqrt(power[0] * power[1])
    return BOX * VOXEL / np.argmax(fsc < 0.143)


def centre_of(region):
    return np.array(ndimage.center_of_mass(region))


def test_same_seed_same_bytes(coarse):
    again, other = particle(88, 2.5, seed=0), particle(88, 2.5, seed=1)
    for name in ("density", "labels", "half1", "half2", "head_base"):
        assert getattr(again, name).tobytes() == getattr(coarse, name).tobytes(), name
        assert getattr(other, name).tobytes() != getattr(coarse, name).tobytes(), name
    assert (again.offset, again.masses) == (coarse.offset, coarse.masses)


def test_sampling_does_not_move_the_particle(simulated, coarse):
    assert coarse.masses == simulated.masses
    places = []
    for p in (simulated, coarse):
        middle = len(p.density) // 2
        places.append((centre_of(p.density) - middle) * p.voxel_size)
        assert (np.array(p.fulcrum) - middle) * p.voxel_size == pytest.approx((3, 32, -16), abs=1e-9)
    assert places[0] == pytest.approx(places[1], abs=0.01)  # trilinear shares keep the centre of mass


def test_a_box_too_small_is_refused():
    with pytest.raises(UsageError, match="at least 220 Å, got 150 px x 1.4 Å = 210 Å"):
        particle(150, 1.4)


def test_masses_are_those_of_the_ellipsoids(simulated):
    for name, domain in simulation.DOMAINS.items():
        expected = 4 / 3 * np.pi * np.prod(domain.semi_axes) * 0.81e-3
        assert simulated.masses[name] == pytest.approx(expected, abs=0.06), name  # half a residue
    assert sum(simulated.masses.values()) == pytest.approx(269, abs=2)
    body = simulated.density[simulated.labels == LABELS["body"]].sum() / simulated.density.sum()
    assert body == pytest.approx(simulated.masses["body"] / sum(simulated.masses.values()), rel=0.05)


def test_triskelion(simulated):
    body, head, foot, arm = (centre_of(simulated.labels == LABELS[n]) for n in ("body", "head", "foot", "arm"))
    assert head[1] > body[1] + 25 and foot[1] > body[1] + 25  # both above the body ...
    assert head[2] < body[2] - 20 and foot[2] > body[2] + 20  # ... and on either side of it
    rows = np.nonzero((simulated.labels == LABELS["body"]).any(axis=(0, 2)))[0]
    assert arm[1] < rows.min()  # beyond the end that is away from head and foot


def test_the_more_a_domain_moves_the_dimmer_it_is(simulated):
    bright = {n: np.percentile(simulated.density[simulated.labels == i], 99) for n, i in LABELS.items()}
    assert bright["body"] > bright["foot"] > bright["head"] > bright["arm"] > bright["glycans"]
    assert bright["glycans"] > 10 * bright["solvent"]
    assert simulated.density.max() == simulated.density[simulated.labels == LABELS["body"]].max() == 1


def test_the_more_a_domain_moves_the_worse_its_resolution(simulated):
    body, foot, head, arm = (resolution_at(simulated, n) for n in ("body", "foot", "head", "arm"))
    assert body == pytest.approx(4.0, abs=0.2)  # three shells
    assert body < foot < head < arm


def test_glycans_stand_out_of_the_head(simulated, base):
    glycans = simulated.labels == LABELS["glycans"]
    distance = ndimage.distance_transform_edt(~simulated.head)[glycans] * VOXEL
    assert 10 < distance.max() < 25
    assert ndimage.label(glycans)[1] >= 4
    assert not base[glycans].any()


def test_the_base_is_the_smoothed_average_of_the_halves_in_the_head(simulated, base):
    smoothed = ndimage.gaussian_filter((simulated.half1 + simulated.half2) / 2, 2.0 / VOXEL)
    inside = base > 0
    assert np.array_equal(base[inside], smoothed[inside])
    assert base[inside].min() > BASE_THRESHOLD
    assert simulated.head[inside].all()
    # 0.81 Da/Å³ on the segmented volume: a contour somewhat inside a blurred domain, as people choose it.
    assert inside.sum() * VOXEL**3 * 0.81e-3 == pytest.approx(simulated.masses["head"], rel=0.25)


def test_the_base_is_cropped_two_voxels_outside_its_bounding_box(simulated):
    occupied = np.argwhere(simulated.head_base > 0)
    assert occupied.min(axis=0).tolist() == [2, 2, 2]
    assert (np.array(simulated.head_base.shape) - occupied.max(axis=0)).tolist() == [3, 3, 3]


def test_the_mask_of_the_head_is_one_piece_that_meets_no_face_and_no_other_limb(simulated, base):
    dilated = oracles.within(base > BASE_THRESHOLD, DILATION)
    assert ndimage.label(dilated)[1] == 1
    occupied = np.argwhere(base > BASE_THRESHOLD)
    reach = DILATION + SOFT_EDGE
    assert occupied.min() - reach >= 0 and occupied.max() + reach < BOX
    assert not (dilated & np.isin(simulated.labels, (LABELS["foot"], LABELS["arm"]))).any()


def test_the_fulcrum_lies_between_head_and_body(simulated):
    here = tuple(np.rint(simulated.fulcrum).astype(int))
    for name in ("head", "body"):
        assert ndimage.distance_transform_edt(simulated.labels != LABELS[name])[here] * VOXEL < 10, name


def test_the_noise_of_the_halves_is_independent_and_equal(simulated):
    noise1, noise2 = simulated.half1 - simulated.density, simulated.half2 - simulated.density
    # 4.1 million voxels; the colour leaves more than a quarter of them independent: 10 sigma.
    assert abs(np.corrcoef(noise1.ravel(), noise2.ravel())[0, 1]) < 0.01
    assert noise1.std() == pytest.approx(noise2.std(), rel=0.01)
    solvent = simulated.labels == LABELS["solvent"]
    assert noise1[solvent].std() == pytest.approx(noise1[~solvent].std(), rel=0.02)  # stationary


def test_noise_spectrum_peaks_falls_and_rises(simulated):
    noise = simulated.half1 - simulated.density
    count = shell_sums(noise, np.ones(noise.shape)[..., : BOX // 2 + 1])
    power = shell_sums(noise, abs(np.fft.rfftn(noise)) ** 2) / count
    s = np.arange(BOX // 2 + 1) / (BOX * VOXEL)
    law = 1 + 10 * np.exp(-((40 * s) ** 2)) + (4 * s) ** 2
    ratio = (power / law)[4:]
    # |N|² of one coefficient is exponential (relative sd 1); half of those in the plane x = 0 are repeated.
    tolerance = 5 * np.sqrt(2 / count[4:]) + 0.02
    assert (abs(ratio / ratio[-20:].mean() - 1) < tolerance).all()
    assert power[4] > 3 * power[16] and power[80] > 2 * power[16]


# the model


@pytest.fixture(scope="module")
def text(simulated):
    return model_text(simulated)


@pytest.fixture(scope="module")
def structure(text):
    return pytest.importorskip("gemmi", reason="the extra `model` is not installed").read_pdb_string(text)


def positions(residues):
    """(n, 3) Å, (z, y, x)."""
    return np.array([atom.pos.tolist()[::-1] for residue in residues for atom in residue])


def test_the_model_says_what_it_is_in_lines_of_a_pdb_file(simulated, text):
    lines = text.splitlines()
    assert {len(line) for line in lines} == {80}
    assert any(line.startswith("REMARK 999 A SIMULATION, NOT A STRUCTURE") for line in lines)
    serials = [int(line[6:11]) for line in lines if line.startswith(("ATOM", "HETATM", "TER"))]
    assert serials == list(range(1, len(serials) + 1))
    assert text == model_text(simulated)


def test_the_model_has_the_residues_and_sugars_of_the_masses(simulated, structure):
    chains = {chain.name: chain for chain in structure[0]}
    assert list(chains) == list("ABCDEFGHIJK")
    for letter, name in zip("ABCD", ("body", "head", "foot", "arm"), strict=True):
        assert len(chains[letter]) * 0.110 == pytest.approx(simulated.masses[name], abs=1e-9)
    sugars = [[residue.name for residue in chains[letter]] for letter in "EFGHIJK"]
    assert sum(map(len, sugars)) * 0.180 == pytest.approx(simulated.masses["glycans"], abs=1e-9)
    assert all(names == ["NAG", "NAG", "BMA", "MAN"][: len(names)] for names in sugars)
    assert {len(names) for names in sugars} == {2, 3, 4}


def test_every_atom_has_a_name_of_its_own_that_its_residue_knows(structure):
    import gemmi

    known = {
        "LEU": "N CA C O CB CG CD1 CD2",
        "ASN": "N CA C O CB CG OD1 ND2",
        "NAG": "C1 C2 C3 C4 C5 C6 N2 O3 O4 O5 O6",
        "BMA": "C1 C2 C3 C4 C5 C6 O2 O3 O4 O5 O6",
        "MAN": "C1 C2 C3 C4 C5 C6 O2 O3 O4 O5 O6",
    }
    for chain in structure[0]:
        for residue in chain:
            assert sorted(atom.name for atom in residue) == sorted(known[residue.name].split())
            assert all(atom.element.name == atom.name[0] for atom in residue)
            sugar = gemmi.find_tabulated_residue(residue.name).kind == gemmi.ResidueKind.PYR
            assert sugar == (residue.het_flag == "H") == (chain.name in "EFGHIJK")


def test_links_run_from_asparagines_of_the_head_along_each_glycan(simulated, structure):
    """The record is what says that two atoms are bound: the points are no chemistry, and no length tells it."""
    roots, ends = [], {"ASN": "ND2", "NAG": "O4", "BMA": "O3"}
    for link in structure.connections:
        first, second = (structure[0].find_cra(end) for end in (link.partner1, link.partner2))
        assert (first.atom.name, second.atom.name) == (ends[first.residue.name], "C1")
        # the columns hold two digits, of coordinates that are rounded: 2·√3 roundings at most
        assert link.reported_distance == pytest.approx(first.atom.pos.dist(second.atom.pos), abs=0.005 + 4 * COLUMN)
        if first.residue.name == "ASN":
            assert (first.chain.name, second.residue.seqid.num) == ("B", 1)
            roots.append(first.residue.seqid.num - 1)
        else:
            assert first.chain.name == second.chain.name
            assert first.residue.seqid.num == second.residue.seqid.num - 1
    assert roots == [stub.root[0] for stub in simulated.stubs]
    assert len(structure.connections) == sum(len(stub.sugars) for stub in simulated.stubs)
    assert sum(residue.name == "ASN" for chain in structure[0] for residue in chain) == len(set(roots))


def test_the_atoms_are_the_points_of_the_density(simulated, coarse, structure):
    corner = BOX // 2 * VOXEL
    head = np.array(sorted(map(tuple, positions(structure[0]["B"]))))
    points = np.array(sorted(map(tuple, (simulated.residues["head"].reshape(-1, 3) + corner).round(3))))
    assert abs(head - points).max() < COLUMN
    for letter, stub in zip("EFGHIJK", simulated.stubs, strict=True):
        number, atom = stub.root
        root = structure[0]["B"][number]["ND2"][0].pos.tolist()[::-1]
        assert abs(simulated.residues["head"][number, atom] + corner - root).max() < COLUMN
        assert abs(stub.sugars.reshape(-1, 3) + corner - positions(structure[0][letter])).max() < COLUMN
    for first, second in zip(simulated.stubs, coarse.stubs, strict=True):
        assert first.root == second.root and np.array_equal(first.sugars, second.sugars)


def test_a_map_of_the_model_is_the_density_of_what_does_not_move(simulated, structure):
    density = np.zeros_like(simulated.density)
    voxels = np.rint(positions(residue for chain in structure[0] for residue in chain) / VOXEL).astype(int)
    np.add.at(density, tuple(voxels.T), 1)
    density = ndimage.gaussian_filter(density, 0.225 * 4.0 / VOXEL)  # ChimeraX's molmap at 4 Å
    correlation = {}
    for name in ("body", "foot", "head", "arm"):
        where = simulated.labels == LABELS[name]
        correlation[name] = np.corrcoef(density[where], simulated.density[where])[0, 1]
    assert correlation["body"] > 0.8
    assert correlation["body"] > correlation["foot"] > correlation["head"] > correlation["arm"] > 0
