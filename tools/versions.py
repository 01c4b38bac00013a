"""Runs the fast tests on the oldest, the pinned and the newest versions of what the package needs.

    .venv/bin/python tools/versions.py [oldest] [pinned] [newest] [--tests='-m "not slow"']

The oldest are the lower bounds in `pyproject.toml`, those of the extra `test` included. The pinned are
those of `constraints.txt`. Each environment is made anew in `build/versions`, with what pip and pytest
say beside it. Needs the extra `release`, and Python 3.11 and 3.13 on the PATH.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "build" / "versions"

ENVIRONMENTS = {  # the Python, and how versions are chosen
    "oldest": ("3.11", ["--resolution=lowest-direct"]),
    "pinned": ("3.11", ["--constraints=constraints.txt"]),
    "newest": ("3.13", []),
}
PACKAGES = ("jax", "flax", "numpy")
COLUMNS = ("environment", "Python", *PACKAGES, "passed", "failed", "skipped")

_LIST_VERSIONS = f"""
import importlib.metadata, json, platform
print(json.dumps([platform.python_version(), *map(importlib.metadata.version, {PACKAGES})]))
"""


def install(name: str) -> None:
    """Makes an environment with the package and all that its tests need."""
    python, options = ENVIRONMENTS[name]
    uv, environment = [sys.executable, "-m", "uv"], str(FOLDER / name)
    with open(FOLDER / f"{name}.install.log", "w") as log:
        for command in (
            ["venv", "--clear", f"--python={python}", environment],
            ["pip", "install", f"--python={environment}", *options, "-e", ".[test]"],
        ):
            subprocess.run([*uv, *command], cwd=ROOT, stdout=log, stderr=log, check=True)


def run_tests(name: str, tests: list[str]) -> list[str]:
    """A row of the table, of an environment that is installed."""
    python, report = str(FOLDER / name / "bin" / "python"), FOLDER / f"{name}.xml"
    versions = subprocess.check_output([python, "-c", _LIST_VERSIONS], cwd=FOLDER, text=True)
    report.unlink(missing_ok=True)
    with open(FOLDER / f"{name}.tests.log", "w") as log:
        command = [python, "-m", "pytest", "-q", f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    if not report.exists():
        sys.exit(f"No test ran on the {name} versions: see {log.name}.")
    suite = ElementTree.parse(report).getroot()[0]
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return [name, *json.loads(versions), *map(str, (total - failed - skipped, failed, skipped))]


def print_row(row: list[str] | tuple[str, ...]) -> None:
    print("  ".join(cell.ljust(11) for cell in row).rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("environments", nargs="*")
    parser.add_argument("--tests", default='-m "not slow"')
    args = parser.parse_args()
    if unknown := set(args.environments) - set(ENVIRONMENTS):
        parser.error(f"environments must be of {', '.join(ENVIRONMENTS)}, got {unknown.pop()!r}.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    print_row(COLUMNS)
    failed = []
    for name in args.environments or ENVIRONMENTS:
        try:
            install(name)
        except subprocess.CalledProcessError:
            sys.exit(f"The {name} versions cannot be installed: see {FOLDER}/{name}.install.log.")
        row = run_tests(name, shlex.split(args.tests))
        print_row(row)
        if row[COLUMNS.index("failed")] != "0" or row[COLUMNS.index("passed")] == "0":
            failed.append(name)
    if failed:
        sys.exit(f"Tests fail on the {' and '.join(failed)} versions: see {FOLDER}/*.tests.log.")


if __name__ == "__main__":
    main()
