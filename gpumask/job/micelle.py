"""A low-passed outside, such as a micelle, around a protein that is masked at full resolution."""

from dataclasses import asdict, dataclass

from gpumask import algebra, backend, filters, mask, models, regions, thresholds, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, outputs
from gpumask.recipe import lengths, parse_threshold

LOWPASS = "20A"
BESIDE = ("outside", "applied")  # what is written beside the mask


@dataclass(frozen=True)
class Micelle:
    """What of a map around a model is taken for a micelle, and how far it is low-passed.

    Attributes
    ----------
    threshold : str
        In the words of :func:`gpumask.thresholds.level`; of the low-passed map.
    lowpass : str or float
        Å.
    """

    threshold: str
    lowpass: str | float = LOWPASS

    def __post_init__(self):
        if not isinstance(self.threshold, str):
            raise UsageError(f"the threshold of a micelle must be text, got {self.threshold!r}")
        parse_threshold(self.threshold)
        object.__setattr__(self, "lowpass", units.angstrom(self.lowpass, "low-pass resolution"))

    def names(self, output):
        """The files beside the mask `output`: the mask of the outside, and the map under both."""
        return [outputs.beside(output, f"_{name}.mrc") for name in BESIDE]

    def to_dict(self):
        """Both, for the provenance."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """From :meth:`to_dict`."""
        if not isinstance(values, dict) or set(values) != {"threshold", "lowpass"}:
            raise UsageError(f"a micelle is a threshold and a lowpass, got {values!r}; correct it or set it to null")
        return cls(**values)

    def made(self, volume, chosen, soft, recipe, device, reason):
        """A Volume for each of ``BESIDE``, facts and warnings; see :func:`outside`.

        Parameters
        ----------
        volume : Volume
            The map.
        chosen : Model
        soft : Volume
            The mask of the model, made by `recipe`.
        recipe : ModelRecipe
        device, reason : str
            See :func:`gpumask.backend.choose`.
        """
        size = soft.voxel_size
        radius = units.to_angstrom(units.to_px(recipe.radius, size, "radius"), size)
        base = models.base(chosen, radius, soft)

        def work(device):
            with backend.current(device):
                placed, own, kept = (backend.place_array(a, device) for a in (volume.data, base, soft.data))
                low_mask, applied, facts, notes = outside(
                    soft.with_data(placed), own, kept, recipe.of_base, self.threshold, self.lowpass
                )
                return [backend.to_numpy(array) for array in (low_mask, applied)], facts, notes

        (arrays, facts, notes), _, steps_down = devices.run(work, device, reason)
        volumes = {name: soft.with_data(array) for name, array in zip(BESIDE, arrays, strict=True)}
        return volumes, facts, [*notes, *steps_down]


def outside(volume, base, soft, recipe, threshold, resolution):
    """The mask of what a map holds around a protein, and the map under both masks.

    The particle is what of the low-passed map is at or above a level and 26-connected with the protein, and the protein
    itself; its mask P has the protein's dilation and edge, and is nowhere below the protein's mask M. ``L = P - M`` is
    what M leaves of it, and the map becomes ``V·M + LP(V·L)``.

    Parameters
    ----------
    volume : Volume
        V; numpy or CuPy data.
    base : array of bool, shape (z, y, x)
        Of the protein.
    soft : array of float32
        M, made of that base by `recipe`.
    recipe : MaskRecipe
        Dilation, edge and style of M.
    threshold, resolution
        See :class:`Micelle`.

    Returns
    -------
    low_mask, applied : arrays of float32
    facts : dict
        ``threshold`` (method, value, why), ``lowpass_angstrom``, ``overlap_angstrom3`` (``Σ min(M, L)``),
        ``volume_angstrom3`` of L and ``particle_volume_angstrom3`` of P.
    warnings : list of str

    Raises
    ------
    InputRefused
        The map holds nothing around the protein at that level, or everything.
    """
    size, sampling = volume.voxel_size, units.sampling(volume.voxel_size)
    low = filters.lowpass(volume.data, resolution, size)
    level = thresholds.level(low, threshold, size)
    particle = regions.holding(mask.threshold(low, level.value) | base, base)
    del low
    whole = mask.soft_mask(particle, *lengths(recipe, size), recipe.edge, recipe.style, sampling)
    whole = algebra.combined("or", whole, soft)  # an edge that is measured from the atoms reaches further
    at = f"at {level.value:.6g} in the map at {resolution:g} Å"
    if bool(whole.min() == 1):
        raise InputRefused(f"the particle {at} is the whole box: raise --micelle")
    low_mask = algebra.combined("complement", whole, soft)
    if not bool((low_mask >= 0.5).any()):
        raise InputRefused(
            f"nothing lies around the model {at}: lower --micelle, dilate the protein less or give it a narrower edge"
        )
    told = mask.faces_touched(soft)
    faces = [face for face in mask.faces_touched(whole) if face not in told]
    notes = list(level.warnings)
    if faces:
        notes.append(
            f"the outside {at} meets the box face{'s' * (len(faces) > 1)} {', '.join(faces)}: raise --micelle where "
            "that is noise, or use a larger box"
        )

    def volume_of(voxels):
        return units.volume_angstrom3(float(voxels), size)

    facts = {
        "threshold": {"method": level.method, "value": level.value, "why": level.why},
        "lowpass_angstrom": resolution,
        "overlap_angstrom3": volume_of(algebra.overlap(soft, low_mask)),
        "volume_angstrom3": volume_of(low_mask.sum(dtype="float64")),
        "particle_volume_angstrom3": volume_of(whole.sum(dtype="float64")),
    }
    applied = algebra.composite(volume.data, soft, low_mask, resolution, size)
    return low_mask, applied, facts, notes
