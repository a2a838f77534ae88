"""The contents of the program: the crates and C libraries that are compiled into it or linked to it."""

import functools
import json
import pathlib
import re
import subprocess

FOLDER = pathlib.Path(__file__).resolve().parent
# The targets of the packages and images.
TARGETS = ("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu")


def output(*words):
    return subprocess.run(words, cwd=FOLDER, check=True, stdout=subprocess.PIPE, text=True).stdout


def host():
    """Returns the target that rustc builds for on this machine."""
    return re.search("^host: (.*)$", output("rustc", "-vV"), re.MULTILINE).group(1)


@functools.cache
def metadata():
    """Returns what `cargo metadata` says. Cargo downloads the crates that are not there."""
    words = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    for target in TARGETS:
        words += ["--filter-platform", target]
    return json.loads(output(*words))


@functools.cache
def packages():
    """Returns the packages by name and version."""
    return {(package["name"], package["version"]): package for package in metadata()["packages"]}


@functools.cache
def crates(targets, edges, *features):
    """Returns the packages that the program has for any of `targets`, in order, without itself."""
    words = ["cargo", "tree", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}", "--edges", edges, *features]
    lines = {line for target in targets for line in output(*words, "--target", target).splitlines()}
    names = {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines}
    return [packages()[name] for name in sorted(names) if name[0] != "koobridge"]


def folder(package):
    return pathlib.Path(package["manifest_path"]).parent


def crate(name):
    """Returns the package of a crate of which the program has one version."""
    [found] = [package for package in crates(TARGETS, "normal,build", "--all-features") if package["name"] == name]
    return found


def path(name):
    """Returns the path of CRATE/FILE."""
    name, file = name.split("/", 1)
    return folder(crate(name)) / file


def c_libraries():
    """Returns the entries of c-libraries.json. `version` becomes the version, or None if the system decides on it."""
    libraries = json.loads((FOLDER / "c-libraries.json").read_text())
    for library in libraries:
        if library["version"]:
            file, pattern = library["version"]
            text = path(f"{library['crate']}/{file}").read_text()
            found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
            if not found:
                raise SystemExit(f"{library['name']}: no version in {file}; correct its pattern in c-libraries.json")
            library["version"] = ".".join(found.groups())
    return libraries
