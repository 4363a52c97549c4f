"""What tells people and programs what is in the albums: `index.html` with thumbnails, `albums.json`, `albums.csv`."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from tqdm import tqdm

from augmentor.errors import PhotoError
from augmentor.images import write_whole
from identity.organising import NO_FACE, REVIEW, SINGLE, UNKNOWN, Albums, in_albums
from identity.photo_work import InProcess, PhotoWork

THUMBNAILS = ".thumbnails"
_MOST_SHOWN = 500  # of an album; the folder has all
_COLUMNS = ("photo", "album", "file", "status", "reason", "name", "score", "probability", "quality", "box")


def write_pages(
    found: Albums, photos: Path, albums: Path, progress: bool = False, work: PhotoWork | None = None
) -> Path:
    """Write the three files and the thumbnails the page shows.

    Args:
        found: what is in the albums.
        photos, albums: the folders.
        progress: whether to show a bar on stderr.
        work: decodes photos; by default this process.

    Returns:
        Path of `index.html`.

    Raises:
        InputError: the folder cannot be written.
    """
    write_whole(albums / "albums.json", json.dumps(as_json(found), ensure_ascii=False, indent=1).encode())
    write_whole(albums / "albums.csv", _csv(found))
    shown = [(album, paths[:_MOST_SHOWN], len(paths)) for album, paths in in_albums(found)]
    paths = [path for _, paths, _ in shown for path in paths]
    pictures = _thumbnails(found, paths, photos, albums, progress, work or InProcess())
    files = {(placed.album, placed.photo): placed.file for placed in found.placed}
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("albums.html.j2")
    sections = [
        {
            "title": _title(album),
            "kind": album.split("/")[0] if "/" in album or album == NO_FACE else "person",
            "count": count,
            "photos": [
                {
                    "path": path,
                    "link": quote(files.get((album, path), "")),
                    "picture": quote(pictures[path]) if path in pictures else "",
                    "said": _said(found, album, path),
                }
                for path in paths
            ],
        }
        for album, paths, count in shown
    ]
    unreadable = [photo for photo in found.photos.values() if photo.status == "error"]
    page = template.render(
        sections=sections,
        photos=len(found.photos),
        unreadable=unreadable,
        copies=found.copies(),
        near_copies=found.near_copies(),
    )
    write_whole(albums / "index.html", page.encode())
    return albums / "index.html"


def as_json(found: Albums) -> dict[str, Any]:
    """Albums and photos as plain values."""
    files: dict[str, list[str]] = {}
    for placed in found.placed:
        files.setdefault(placed.photo, []).append(placed.file)
    return {
        "albums": [{"album": album, "photos": paths} for album, paths in in_albums(found)],
        "photos": [
            {
                "photo": path,
                "status": photo.status,
                "reason": photo.reason,
                "files": files.get(path, []),
                "faces": [
                    {
                        "album": face.album,
                        "name": face.name if not face.album.startswith(f"{UNKNOWN}/") else None,
                        "score": round(face.score, 4),
                        "probability": round(face.probability, 4),
                        "quality": round(face.face.quality, 4),
                        "box": list(face.face.box),
                    }
                    for face in found.faces.get(path, ())
                ],
            }
            for path, photo in found.photos.items()
        ],
        "copies": found.copies(),
        "near_copies": found.near_copies(),
    }


def _csv(found: Albums) -> bytes:
    """One row for each face, and for each photo without one."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    files = {(placed.album, placed.photo): placed.file for placed in found.placed}
    for path, photo in found.photos.items():
        faces = found.faces.get(path, [])
        for face in faces:
            row = [path, face.album, files.get((face.album, path)), photo.status, photo.reason, face.name]
            row += [f"{v:.4f}" for v in (face.score, face.probability, face.face.quality)]
            table.writerow([*row, " ".join(f"{v:g}" for v in face.face.box)])
        if not faces:
            album = NO_FACE if photo.status != "error" else None
            table.writerow([path, album, files.get((NO_FACE, path)), photo.status, photo.reason])
    return text.getvalue().encode()


def _thumbnails(
    found: Albums, paths: Sequence[str], photos: Path, albums: Path, progress: bool, work: PhotoWork
) -> dict[str, str]:
    """Photo to thumbnail, relative to the albums; those of photos that are not shown any more are removed."""
    folder = albums / THUMBNAILS
    names: dict[str, str] = {}
    for path in tqdm(dict.fromkeys(paths), "thumbnails", unit="photo", disable=not progress):
        sha256 = found.photos[path].sha256
        if not sha256:
            continue
        file = folder / f"{sha256[:32]}.jpg"
        if not file.exists():
            try:
                small = work.thumbnail(photos / path)
            except PhotoError:
                continue
            write_whole(file, small)
        names[path] = f"{THUMBNAILS}/{file.name}"
    if folder.is_dir():
        kept = {Path(name).name for name in names.values()}
        for file in folder.iterdir():
            if file.name not in kept:
                file.unlink()
    return names


def _title(album: str) -> str:
    if album == NO_FACE:
        return "No face"
    if album == f"{UNKNOWN}/{SINGLE}":
        return "Unknown, on one photo each"
    kind, _, rest = album.partition("/")
    if kind == UNKNOWN and rest:
        return f"Unknown person {rest}"
    if kind == REVIEW and rest:
        return f"Perhaps {rest}"
    return album


def _said(found: Albums, album: str, path: str) -> str:
    """What is known of a photo in an album, in a few words."""
    faces = [face for face in found.faces.get(path, ()) if face.album == album]
    if not faces or album.startswith(f"{UNKNOWN}/"):
        return ""
    return f"{max(face.probability for face in faces):.0%} sure"
