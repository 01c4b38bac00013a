"""Checks that what is committed can be released, and builds it. It uploads nothing.

    .venv/bin/python tools/release.py

Every step prints one line, and the first that fails says why in one sentence. Programs write what they
have to say to `build/release`. Needs the extra `release`.
"""

import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "build" / "release"
SOURCE, DIST, CLEAN = FOLDER / "source", FOLDER / "dist", FOLDER / "clean"

# Start, compilation and gradient of README's example, in seconds of processor time.
LONGEST_COLD_START = 10

# What the source distribution holds beside the package. No tests: they need experiments, notebooks and
# pages of the repository.
BESIDE_PACKAGE = {
    "CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg",
}  # fmt: skip


class ReleaseError(Exception):
    """Why, in one sentence."""


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for step in (
        clean_tree,
        repository,
        version_and_changelog,
        checks_of_a_change,
        versions,
        build,
        contents,
        metadata,
        wheel_in_a_clean_environment,
    ):
        try:
            print(f"{step.__name__.replace('_', ' ')}: {step()}", flush=True)
        except ReleaseError as error:
            sys.exit(f"{step.__name__.replace('_', ' ')}: {error}")
    print(f"""
Ready. To release, with the address and the rights of the project:
    git tag -a v{_version()} -m v{_version()} && git push origin v{_version()}
    {pathlib.Path(sys.executable)} -m twine upload {DIST}/*""")


def clean_tree() -> str:
    if changed := _output("git", "status", "--porcelain"):
        raise ReleaseError(f"commit or remove what is not committed, first {changed.split()[1]!r}.")
    return _output("git", "rev-parse", "--short", "HEAD")


def repository() -> str:
    """The address, which README's links get in a package index."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {})
    if "Repository" not in urls:
        raise ReleaseError(
            "pyproject.toml does not name the repository; fill in `Repository` of [project.urls]."
        )
    return urls["Repository"].rstrip("/")


def version_and_changelog() -> str:
    version = _version()
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    if not heading or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", heading[1]):
        raise ReleaseError(
            f"the first section of CHANGELOG.md must be '{version} (year-month-day)', the version "
            f"of watson_jax/_version.py with a date, got {heading and heading[1]!r}."
        )
    if _output("git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"v{version} is tagged already; raise watson_jax/_version.py.")
    return heading[1]


def checks_of_a_change() -> str:
    _run("checks", "bash", ".ci/run")
    return "tests, lint, types and documentation pass"


def versions() -> str:
    _run("versions", sys.executable, "tools/versions.py")
    return "the fast tests pass on the oldest, pinned and newest versions"


def build() -> str:
    """Builds from what is committed, with README's links as a package index needs them."""
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    SOURCE.mkdir()
    subprocess.run(["tar", "-x"], cwd=SOURCE, input=archive.stdout, check=True)
    readme = SOURCE / "README.md"
    readme.write_text(
        with_absolute_links(readme.read_text("utf-8"), repository(), _version()), "utf-8"
    )
    _run("build", sys.executable, "-m", "build", f"--outdir={DIST}", SOURCE)
    return ", ".join(sorted(path.name for path in DIST.iterdir()))


def with_absolute_links(readme: str, address: str, version: str) -> str:
    """Links and pictures of the repository, with its address as GitHub forms them."""

    def absolute(match: re.Match[str]) -> str:
        kind = "raw" if match["picture"] else "blob"
        return f"{match['text']}({address}/{kind}/v{version}/{match['path']})"

    return re.sub(
        r"(?P<text>(?P<picture>!?)\[[^\]]*\])\((?!\w+:|#)(?P<path>[^)\s]+)\)", absolute, readme
    )


def contents() -> str:
    """Both files hold the whole package as it is committed, and nothing else of the repository."""
    package = set(_output("git", "ls-files", "watson_jax").splitlines())
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        in_wheel = {name for name in file.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as tar:
        members = (member.name.partition("/")[2] for member in tar if member.isfile())
        in_sdist = {name for name in members if ".egg-info/" not in name}
    for path, found, expected in (
        (wheel, in_wheel, package),
        (sdist, in_sdist, package | BESIDE_PACKAGE),
    ):
        if missing := expected - found:
            raise ReleaseError(f"{path.name} lacks {_few(missing)}.")
        if unexpected := found - expected:
            raise ReleaseError(f"{path.name} must not hold {_few(unexpected)}.")
    return f"{len(package)} files of the package in both, no tests"


def metadata() -> str:
    _run("twine", sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir())
    return "twine accepts both"


def wheel_in_a_clean_environment() -> str:
    """README's example and the command, without extras and away from the repository."""
    (wheel,) = DIST.glob("*.whl")
    _run("clean", sys.executable, "-m", "uv", "venv", f"--python={sys.executable}", CLEAN)
    _run("clean", sys.executable, "-m", "uv", "pip", "install", f"--python={CLEAN}", wheel)
    readme = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", readme, re.M | re.S)
    python = CLEAN / "bin" / "python"
    _run("clean", python, "-m", "watson_jax", "list", cwd=FOLDER)
    before = _processor_time()
    _run("clean", python, "-W", "error", "-c", example, cwd=FOLDER)
    seconds = _processor_time() - before
    if seconds > LONGEST_COLD_START:
        raise ReleaseError(
            f"README's example must take at most {LONGEST_COLD_START} s of processor time from a "
            f"cold start, took {seconds:.1f} s."
        )
    return f"README's example takes {seconds:.1f} s of processor time from a cold start"


def _version() -> str:
    text = (ROOT / "watson_jax" / "_version.py").read_text("utf-8")
    return re.search(r'__version__ = "(.*)"', text)[1]  # type: ignore[index]


def _output(*command: str) -> str:
    return subprocess.check_output(command, cwd=ROOT, text=True).strip()


def _run(log: str, *command: str | pathlib.Path, cwd: pathlib.Path = ROOT) -> None:
    """Appends what a program writes to a log, which the sentence about a failure names."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = FOLDER / f"{log}.log"
    with open(path, "a") as file:
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        shown = " ".join(map(str, command[:4]))
        raise ReleaseError(f"`{shown}` failed; {path.relative_to(ROOT)} says why.")


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _few(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


if __name__ == "__main__":
    main()
