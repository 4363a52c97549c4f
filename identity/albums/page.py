"""Write what is in the albums for people and programs: `index.html` with thumbnails, `albums.json`, `albums.csv`."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from tqdm import tqdm

from augmentor.errors import PhotoError
from augmentor.path_text import as_cell
from augmentor.photos.names import folder_of
from identity.albums.photo_work import InProcess, PhotoWork
from identity.albums.sorting import NO_FACE, REVIEW, SINGLE, UNKNOWN, Albums, in_albums
from identity.albums.written_files import WrittenFiles
from identity.runs.collection import PeopleFile

THUMBNAILS = ".thumbnails"
_WRITTEN_AT_ONCE = 64
_MOST_SHOWN = 500  # most photos of an album on the page; the folder contains all
_COLUMNS = ("photo", "album", "file", "status", "reason", "name", "score", "probability", "quality", "box")


def write_pages(
    contents: Albums,
    people: PeopleFile,
    photos: Path,
    albums: Path,
    progress: bool = False,
    work: PhotoWork | None = None,
) -> Path:
    """Write the page with its thumbnails, the JSON file and the table.

    Files of the user are neither overwritten nor removed, see `identity.albums.written_files`.

    Args:
        contents: what is in the albums.
        people: people file of the run.
        photos: folder of the photos.
        albums: folder of the albums.
        progress: whether to show a progress bar on stderr.
        work: decodes photos; this process if None.

    Returns:
        Path of the page: `index.html`, or `index (2).html` and so on if the user has a file of that name.

    Raises:
        InputError: The folder cannot be written.
    """
    written = WrittenFiles(people, contents.collection, albums)
    table = json.dumps(as_json(contents), ensure_ascii=False, indent=1).encode()
    pages = [written.write("albums.json", table), written.write("albums.csv", _csv(contents))]
    shown = [(album, paths[:_MOST_SHOWN], len(paths)) for album, paths in in_albums(contents)]
    wanted = [path for _, paths, _ in shown for path in paths]
    pictures = _thumbnails(contents, wanted, photos, albums, written, work or InProcess(), progress)
    files = {(placed.album, placed.photo): placed.file for placed in contents.placed}
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("albums.html.j2")
    sections = [
        {
            "title": _title(contents, album),
            "kind": album.split("/")[0] if "/" in album or album == NO_FACE else "person",
            "count": count,
            "photos": [
                {
                    "path": path,
                    "link": quote(files.get((album, path), "")),
                    "picture": quote(pictures[path]) if path in pictures else "",
                    "note": _note(contents, album, path),
                }
                for path in paths
            ],
        }
        for album, paths, count in shown
    ]
    unreadable = [photo for photo in contents.photos.values() if photo.status == "error"]
    page = template.render(
        sections=sections,
        photos=len(contents.photos),
        unreadable=unreadable,
        copies=contents.copies(),
        near_copies=contents.near_copies(),
    )
    pages.append(written.write("index.html", page.encode()))
    written.remove_others([*pages, *pictures.values()])
    return albums / pages[-1]


def as_json(contents: Albums) -> dict[str, Any]:
    """Return albums and photos as plain values for JSON.

    Args:
        contents: what is in the albums.
    """
    files: dict[str, list[str]] = {}
    for placed in contents.placed:
        files.setdefault(placed.photo, []).append(placed.file)
    return {
        "albums": [{"album": album, "photos": paths} for album, paths in in_albums(contents)],
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
                    for face in contents.faces.get(path, ())
                ],
            }
            for path, photo in contents.photos.items()
        ],
        "copies": contents.copies(),
        "near_copies": contents.near_copies(),
    }


def _csv(contents: Albums) -> bytes:
    """Return a table with a row for each face and for each photo without a face."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    files = {(placed.album, placed.photo): placed.file for placed in contents.placed}
    for path, photo in contents.photos.items():
        faces = contents.faces.get(path, [])
        for face in faces:
            row = [path, face.album, files.get((face.album, path)), photo.status, photo.reason, face.name]
            numbers = [f"{v:.4f}" for v in (face.score, face.probability, face.face.quality)]
            table.writerow([*map(_cell, row), *numbers, " ".join(f"{v:g}" for v in face.face.box)])
        if not faces:
            album = NO_FACE if photo.status != "error" else None
            row = [path, album, files.get((NO_FACE, path)), photo.status, photo.reason]
            table.writerow(map(_cell, row))
    return text.getvalue().encode()


def _cell(text: str | None) -> str | None:
    """Return a cell that spreadsheets treat as text; None stays None."""
    return None if text is None else as_cell(text)


def _thumbnails(
    contents: Albums,
    paths: Sequence[str],
    photos: Path,
    albums: Path,
    written: WrittenFiles,
    work: PhotoWork,
    progress: bool,
) -> dict[str, str]:
    """Write missing thumbnails; return the file of each photo's thumbnail, relative to the albums."""
    names: dict[str, str] = {}
    waiting: dict[str, bytes] = {}
    for path in tqdm(dict.fromkeys(paths), "thumbnails", unit="photo", disable=not progress):
        sha256 = contents.photos[path].sha256
        if not sha256:
            continue
        file = f"{THUMBNAILS}/{sha256[:32]}.jpg"
        if not written.is_ours(file) and file not in waiting:
            if os.path.lexists(albums / file):  # a file of the user
                continue
            try:
                small = work.thumbnail(photos / path)
            except PhotoError:
                continue
            waiting[file] = small
        names[path] = file
        if len(waiting) == _WRITTEN_AT_ONCE:
            written.write_all(waiting)
            waiting = {}
    written.write_all(waiting)
    return names


def _title(contents: Albums, album: str) -> str:
    if album == NO_FACE:
        return "No face"
    if album == f"{UNKNOWN}/{SINGLE}":
        return "Unknown, in one photo each"
    kind, _, rest = album.partition("/")
    if kind == UNKNOWN and rest:
        return f"Unknown person {rest}"
    # The folder's name may differ from the person's name, which may contain characters that folders cannot have.
    names = {face.name for faces in contents.faces.values() for face in faces if face.album == album}
    name = next((name for name in names if folder_of(name) == (rest or album)), None)
    if kind == REVIEW and rest:
        return f"Perhaps {name or rest}"
    return name or album


def _note(contents: Albums, album: str, path: str) -> str:
    """Return a short note on a photo in an album: how sure the name is."""
    faces = [face for face in contents.faces.get(path, ()) if face.album == album]
    if not faces or album.startswith(f"{UNKNOWN}/"):
        return ""
    return f"{max(face.probability for face in faces):.0%} sure"
