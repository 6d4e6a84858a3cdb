"""Packages from npm, fetched once and checked by SHA-512: MathJax for the site, axe for tests."""
import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from dimabsa_nb.core import UserError, cache_folder
from dimabsa_nb.weights import _remove_leftovers

PACKAGES = {  # name -> (version, SHA-512 of its archive)
    "mathjax": (
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="),
    "axe-core": (
        "4.14.1",
        "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==")}


def package(name: str, folder: Path | None = None) -> Path:
    """A package's archive, checked; from the cache, or fetched into it.

    Raises UserError where it cannot be fetched or is not the pinned one."""
    version, pinned = PACKAGES[name]
    path = Path(folder or cache_folder() / "npm") / f"{name}-{version}.tgz"
    if not path.is_file(): fetch_package(name, path.parent)
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != pinned:
        raise UserError(f"{path}: is not {name} {version} as pinned (SHA-512 {found}); "
                        "remove it and try again")
    return path


def fetch_package(name: str, folder: Path) -> None:
    """Have npm fetch a package's archive into a folder."""
    npm, wanted = shutil.which("npm"), f"{name}@{PACKAGES[name][0]}"
    fix = f"install npm (Node.js), or put the archive of {wanted} into {folder}"
    if not npm: raise UserError(f"{wanted} is needed once and npm is not installed; {fix}")
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    with TemporaryDirectory(dir=folder, prefix=f".{name}-") as scratch:
        command = [npm, "pack", "--silent", "--pack-destination", scratch, wanted]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise UserError(f"npm cannot fetch {wanted}: {reason}; {fix}")
        for path in Path(scratch).iterdir(): path.replace(folder / path.name)


def member(archive: Path, name: str) -> bytes:
    """One file of a package."""
    with tarfile.open(archive) as opened: return opened.extractfile(f"package/{name}").read()
