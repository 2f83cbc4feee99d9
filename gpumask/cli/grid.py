"""gpumask grid FILE -o OUT"""

from gpumask.cli import options, terminal
from gpumask.cli.resample import add_mode, show

STEPS = ("header", "origin", "axes", "flip", "hand", "shift", "shift_method", "rescale", "fourier_box", "crop", "tight",
         "level", "centre_on", "box")  # fmt: skip


def fill(parser):
    parser.description = (
        "Change the grid of a map or mask: in the order of this list, each step optional. Crops, padding and rescaling "
        "leave the density where it was: ORIGIN and NSTART move along. Flips, the hand and shifts move the density in "
        "its box, whose place stays. Without a step the file is rewritten with its axes in order. Masks (values in "
        "[0, 1] that begin at 0 or end at 1) stay in [0, 1]. OUT.json beside OUT says what was done."
    )
    parser.epilog = "Example: gpumask grid map.mrc --rescale 2.8A --box 128 -o small.mrc"
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="map or mask (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="file to write (.mrc)")
    group = parser.add_argument_group("place (one at the most; the voxels stay)")
    group.add_argument("--header", metavar="REF", help="voxel size, ORIGIN and NSTART of a map of the same box")
    group.add_argument("--origin", metavar="X,Y,Z", help="place of voxel 0,0,0 in Å")
    group = parser.add_argument_group("turn and move (the box stays where it is)")
    group.add_argument("--axes", metavar="ORDER", help="the old axes that become x, y and z, such as zyx")
    group.add_argument("--flip", metavar="AXES", help="mirror along x, xy …: voxel i to n - 1 - i, as RELION --flipX")
    group.add_argument(
        "--hand", action="store_true", help="the other hand: x about n//2, in even boxes as RELION --invert_hand"
    )
    group.add_argument("--shift", metavar="X,Y,Z[A]", help="move by px or Å; write --shift=-2,0,1")
    group.add_argument("--shift-method", metavar="METHOD", help="trilinear (default, as RELION), fourier (periodic)")
    group = parser.add_argument_group("voxels (one at the most; Fourier crop or padding)")
    group.add_argument(
        "--rescale",
        metavar="SIZE",
        help="voxel size in Å, to an even box; where that crops an even box, as RELION --rescale_angpix but for the "
        "Nyquist planes",
    )
    group.add_argument("--fourier-box", metavar="N[,N,N]", help="voxels of the same field of view (x,y,z)")
    group = parser.add_argument_group("box")
    group.add_argument("--crop", metavar="LOW:HIGH", help="x,y,z:x,y,z, from voxel LOW to before HIGH")
    group.add_argument("--tight", metavar="MARGIN", help="the tightest box and a margin, 5px or 7A")
    group.add_argument("--level", metavar="T", help="of --tight: 0.05, 0.2max, 3sigma (default: what is not 0)")
    group.add_argument("--centre-on", metavar="MASK", help="put the mask's centre of mass at n//2, by whole voxels")
    group.add_argument("--box", metavar="N[,N,N]", help="crop or pad about n//2 (x,y,z), as RELION --new_box")
    group = parser.add_argument_group("files and device")
    add_mode(group)
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--json", action="store_true", help="print one JSON document, that of OUT.json")


def run(arguments):
    from gpumask import job

    with terminal.Progress() as progress:
        done = job.grid(
            arguments.file,
            arguments.output,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **options.given(arguments, (*STEPS, "mode", "nan_to", "device")),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document(done)
    else:
        show(done, [("step", text) for text in done["steps"]] or [("step", "axes in order")])
