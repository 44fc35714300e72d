"""`python -m fuzz`: damaged and hostile inputs; exit code 1 if leadline answers one with anything but its own errors.

--seeds 0:10                 ten times as many (default 0:1), each seed other inputs
--only images,folders        some families
--cases 50                   that many of each family and seed, in place of the usual numbers
--case images:3:17           one case again, as it is named where it failed
--out FOLDER                 where inputs that fail are kept
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from fuzz.case import FAMILIES
from fuzz.run import Tally, counted, run


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seeds", default="0:1")
    words.add_argument("--only", default=",".join(FAMILIES))
    words.add_argument("--cases", type=int)
    words.add_argument("--case")
    words.add_argument("--out", type=Path)
    given = words.parse_args()
    out = (given.out or Path(tempfile.mkdtemp(prefix="leadline-fuzz-"))).resolve()
    tallies: dict[str, Tally] = {}
    if given.case:
        family, seed, number = given.case.split(":")
        tallies[family] = run(family, [(int(seed), int(number))], out)
    else:
        first, _, last = given.seeds.partition(":")
        seeds = range(int(first), int(last) if last else int(first) + 1)
        for family in given.only.split(","):
            tallies[family] = run(family, counted(seeds, given.cases or FAMILIES[family]), out)
            print(f"{family:<12} {tallies[family].line()}", flush=True)
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    for fault in faults:
        print(f"\n{fault}\n  again: python -m fuzz --case {':'.join(fault.split(':')[:3])}")
    for family, tally in tallies.items() if given.case else ():
        print(f"{family:<12} {tally.line()}")
    if faults:
        print(f"\nthe inputs, and the tracebacks, are in {out}")
    else:
        shutil.rmtree(out, ignore_errors=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
