"""Counts how often it has been run, in a file that lies on the volume."""

import pathlib
import sys


def bump(path):
    """Adds one to the number in a file and returns it; a file that is not there counts as 0."""
    path = pathlib.Path(path)
    number = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(f"{number}\n")
    return number


if __name__ == "__main__":
    print(f"this is run number {bump(sys.argv[1])} on this volume")
