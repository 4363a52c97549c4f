"""Download Labeled Faces in the Wild, check it, and lay it out as a folder of photos per person.

    python -m datasets.lfw --out DIR

writes DIR/photos/<identity>/*.jpg (13,233 photos of 5,749 people, 250 x 250, funneled) and DIR/pairs.txt, the official
6,000 pairs. It downloads about 240 MB, once; without a network, put the two files into DIR by hand. A complete DIR is
left alone.

Source:
    G. Huang, M. Ramesh, T. Berg, E. Learned-Miller, "Labeled Faces in the Wild", UMass Amherst technical report 07-49,
    2007. The files are the copy on figshare that scikit-learn uses, with scikit-learn's checksums. They show real
    people and are for research.
"""

import argparse
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from augmentor.command_line import called_as
from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import sha256_of

PHOTOS, PEOPLE = 13_233, 5_749
_TIMEOUT_S = 30


@dataclass(frozen=True)
class RemoteFile:
    """A file on the internet and its checksum."""

    name: str
    url: str
    sha256: str


ARCHIVE = RemoteFile(
    "lfw-funneled.tgz",
    "https://ndownloader.figshare.com/files/5976015",
    "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
)
PAIRS = RemoteFile(
    "pairs.txt",
    "https://ndownloader.figshare.com/files/5976006",
    "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
)


def download_lfw(out: Path) -> Path:
    """Download what is missing below `out`, unpack it, count the photos, and return the folder of photos.

    Raises:
        InputError: there is no network, a download is damaged, the archive is not LFW, or `out` cannot be written.
    """
    photos = out / "photos"
    try:
        out.mkdir(parents=True, exist_ok=True)
        fetch(PAIRS, out)
        if photos.is_dir():
            _check_counts(photos)
            return photos
        archive = fetch(ARCHIVE, out)
        partial = out / ".photos.part"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            unpack(archive, partial)
            _check_counts(partial)
            partial.replace(photos)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror or error}") from error
    return photos


def fetch(remote: RemoteFile, out: Path) -> Path:
    """Download a file into `out` unless it is there already, check its SHA-256, and return its path.

    Raises:
        InputError: the file cannot be downloaded, or its checksum is wrong.
    """
    path = out / remote.name
    if not path.exists():
        partial = path.with_name(f".{remote.name}.part")
        try:
            _download(remote, partial)
            _check(partial, remote)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    else:
        _check(path, remote)
    return path


def _download(remote: RemoteFile, partial: Path) -> None:
    try:
        with urllib.request.urlopen(remote.url, timeout=_TIMEOUT_S) as answer, partial.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, unit="B", unit_scale=True, desc=remote.name) as bar:
                while block := answer.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{remote.name}: cannot be downloaded ({reason}); download {remote.url} on a machine with a network and "
            f"save it as {partial.with_name(remote.name)}"
        ) from error


def _check(path: Path, remote: RemoteFile) -> None:
    if sha256_of(path) != remote.sha256:
        raise InputError(f"{path}: wrong content (its SHA-256 differs); delete the file and start again")


def unpack(archive: Path, folder: Path) -> None:
    """Write the photos in the archive to `folder`/<identity>/, and nothing else.

    Raises:
        InputError: the archive is damaged.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tqdm(tar, total=PHOTOS, desc="unpacking", unit=""):
                place = PurePosixPath(member.name)
                # Accept only lfw_funneled/<identity>/<name>.jpg, so that no archive can make us write anywhere else.
                if (
                    not member.isfile()
                    or len(place.parts) != 3
                    or place.suffix != ".jpg"
                    or ".." in place.parts
                ):
                    continue
                content = tar.extractfile(member)
                assert content is not None  # isfile
                target = folder / place.parts[1] / place.parts[2]
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: damaged archive ({error}); delete it and start again") from error


def _check_counts(photos: Path) -> None:
    people = [path for path in photos.iterdir() if path.is_dir()]
    count = sum(1 for person in people for _ in person.glob("*.jpg"))
    if (count, len(people)) != (PHOTOS, PEOPLE):
        raise InputError(
            f"{photos}: {count} photos of {len(people)} people, but LFW has {PHOTOS} photos of {PEOPLE} people; delete "
            "the folder and start again"
        )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=called_as("python -m datasets.lfw"), description="Download and check LFW."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = make_parser().parse_args(arguments)
    try:
        photos = download_lfw(given.out)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{PHOTOS} photos of {PEOPLE} people in {photos}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
