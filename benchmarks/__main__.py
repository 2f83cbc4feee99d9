import argparse
import sys

from gpumask.errors import GpumaskError

from . import WORDS, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time gpumask against its peers.")
    parser.add_argument("word", nargs="?", choices=WORDS, help="default: create; gpu with --device cuda")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--box", type=int, metavar="N", help="edge of the box in voxels")
    parser.add_argument("--form", choices=("short", "long"), help="of advise: how much is run (default: short)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", metavar="FILE", help="write the JSON document to FILE")
    arguments = parser.parse_args()
    try:
        sys.exit(run(arguments.word, arguments.device, arguments.box, arguments.json, arguments.save, arguments.form))
    except GpumaskError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
