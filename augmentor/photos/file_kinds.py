"""Tell by its name whether a file is a photo, another kind of file, or something that an operating system left there.

These rules use nothing but names, so they are the same on a disk, in a bucket and in a zip archive.
"""

PHOTO_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx"),
        *(".psd", ".ico", ".sgi", ".qoi"),
    ]
)

# Files that cameras, phones, photo services and people put beside photos, lower case. Raw photos are not among them:
# they are photos, and a folder of them must not look empty.
NOT_PHOTO_SUFFIXES = frozenset(
    [
        # what is known of photos: Google Takeout, Apple, Adobe, darktable, Picasa
        *(".json", ".xmp", ".aae", ".thm", ".pp3", ".dop", ".lrcat", ".lrprev", ".xml", ".yaml", ".yml"),
        # films and sound; .mp and .mv are the moving parts of Google's motion photos
        *(
            ".mp4",
            ".mp",
            ".mv",
            ".mov",
            ".m4v",
            ".avi",
            ".mkv",
            ".webm",
            ".3gp",
            ".3g2",
            ".mts",
            ".m2ts",
            ".mpg",
        ),
        *(".mpeg", ".wmv", ".flv", ".lrv", ".insv", ".mp3", ".m4a", ".wav", ".aac", ".flac", ".ogg", ".opus"),
        # text, tables, documents, pages
        *(
            ".txt",
            ".md",
            ".csv",
            ".tsv",
            ".log",
            ".html",
            ".htm",
            ".css",
            ".js",
            ".pdf",
            ".rtf",
            ".doc",
            ".docx",
        ),
        *(
            ".xls",
            ".xlsx",
            ".ppt",
            ".pptx",
            ".odt",
            ".ods",
            ".odp",
            ".url",
            ".webloc",
            ".lnk",
            ".ics",
            ".vcf",
        ),
        # archives, programs, data of programs
        *(
            ".zip",
            ".rar",
            ".7z",
            ".tar",
            ".gz",
            ".tgz",
            ".bz2",
            ".xz",
            ".iso",
            ".dmg",
            ".exe",
            ".msi",
            ".apk",
        ),
        *(
            ".db",
            ".db-journal",
            ".db-wal",
            ".db-shm",
            ".sqlite",
            ".sqlite3",
            ".ini",
            ".cfg",
            ".conf",
            ".plist",
        ),
        *(
            ".py",
            ".pyc",
            ".ipynb",
            ".sh",
            ".bat",
            ".npy",
            ".npz",
            ".parquet",
            ".pickle",
            ".pkl",
            ".h5",
            ".mat",
        ),
        *(".gpx", ".kml", ".kmz", ".ttf", ".otf", ".lock", ".md5", ".sha1", ".sha256", ".par2", ".torrent"),
    ]
)

# What operating systems and photo managers leave in folders, lower case.
METADATA_FILES = frozenset(
    [
        *(".ds_store", ".localized", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", ".nomedia"),
        *(".picasa.ini", "picasa.ini", ".gitignore", ".gitattributes", ".gitkeep", ".keep", ".stignore"),
        "zbthumbnail.info",
    ]
)
# Folders that systems make: a hidden folder (see `is_system_folder`) is one whether it is named here or not.
METADATA_FOLDERS = frozenset(
    [
        # macOS, also as file servers keep it
        *(
            "__macosx",
            ".trashes",
            ".spotlight-v100",
            ".fseventsd",
            ".temporaryitems",
            ".documentrevisions-v100",
        ),
        *(".appledouble", ".appledesktop", ".appledb", "network trash folder", "temporary items"),
        # Windows
        *("$recycle.bin", "recycler", "system volume information"),
        # Linux and other Unix
        *(
            "lost+found",
            ".trash",
            ".trash-1000",
            ".thumbnails",
            ".cache",
            ".snapshot",
            ".snapshots",
            "~snapshot",
        ),
        # Synology, QNAP, Nextcloud, Syncthing and other stores
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharesnap", "@sharebin", "@recycle", ".@__thumb"),
        *("@recently-snapshot", ".stversions", ".stfolder", ".dropbox.cache"),
        # photo managers
        *(".picasaoriginals", ".dtrash", ".comments"),
        # programmers' tools
        *(".git", ".svn", ".hg", ".ipynb_checkpoints", "__pycache__"),
    ]
)

PARTIAL_PREFIX, PARTIAL_SUFFIX = ".likeness-", ".part"


def is_system_folder(name: str) -> bool:
    """Return whether a system made this folder for itself: one of `METADATA_FOLDERS`, or a hidden one.

    Example:
        >>> is_system_folder(".Trash-1001"), is_system_folder("@eaDir"), is_system_folder("Anna")
        (True, True, False)
    """
    return name.startswith(".") or name.lower() in METADATA_FOLDERS


def is_system_file(name: str) -> bool:
    """Return whether a system left this file in a folder, or a killed run of ours left it half-written."""
    name = name.lower()
    return name in METADATA_FILES or (name.startswith(PARTIAL_PREFIX) and name.endswith(PARTIAL_SUFFIX))


def is_system_path(path: str) -> bool:
    """Return whether a relative path with slashes leads to a file of a system, or into one of its folders."""
    *folders, name = path.split("/")
    return is_system_file(name) or any(map(is_system_folder, folders))


def is_no_photo(name: str) -> bool:
    """Return whether the suffix says that a file is no photo. A file with an unknown suffix, or none, may be one.

    Example:
        >>> is_no_photo("IMG_1.jpg.json"), is_no_photo("IMG_1.CR2"), is_no_photo("IMG_1")
        (True, False, False)
    """
    return _suffix(name) in NOT_PHOTO_SUFFIXES


def is_called_photo(name: str) -> bool:
    """Return whether the suffix says that a file is a photo."""
    return _suffix(name) in PHOTO_SUFFIXES


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return (dot + suffix.partition("~")[0]).lower() if stem else ""  # Google's second moving part is .MP~2
