"""The imports between this project's files, read from their source: `python -m tests.imports [FOLDER]` counts them.

A room is a folder of files, or a file that stands directly in `augmentor`, `identity`, `jobs` or `datasets`. An arrow
leads from a room to another that one of its files imports. A circle is a set of files that import each other.
Imports inside functions count like those at the top of a file.
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

PACKAGES = ("augmentor", "identity", "jobs", "datasets")


def source_files(root: Path) -> dict[str, Path]:
    """Return the files of the packages by dotted module name."""
    files = {}
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def imported_names(source: str) -> set[str]:
    """Return the dotted names that a file's source imports; `from a import b` gives `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def import_graph(root: Path) -> dict[str, set[str]]:
    """Return, for each module, the modules of this project that it imports."""
    files = source_files(root)
    graph = {}
    for module, file in files.items():
        names = imported_names(file.read_text("utf-8")) & set(files)
        # `from a import b` needs the package `a` only where `b` is no module of its own
        packages = {name for name in names if any(other.startswith(name + ".") for other in names)}
        graph[module] = names - packages - {module}
    return graph


def room_of(module: str) -> str:
    """Return the room of a module: its folder below the package, or the module itself at a package's top."""
    parts = module.split(".")
    return ".".join(parts[:2])


def room_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return, for each room, the other rooms that it imports."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in graph.items():
        rooms[room_of(module)] |= {room_of(name) for name in imported} - {room_of(module)}
    return dict(rooms)


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of two or more nodes that reach each other.

    Source:
        R. Tarjan, "Depth-first search and linear graph algorithms", 1972; differs: reachability is worked out for each
        node, which is slower and shorter.
    """
    reach = {node: _reached(graph, node) for node in graph}
    found = {frozenset({other for other in reach[node] if node in reach.get(other, ())}) for node in graph}
    return sorted((set(members) for members in found if len(members) > 1), key=sorted)


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += graph.get(node, ())
    return reached


def main() -> None:
    """Print the figures of a checkout."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    graph = import_graph(root)
    rooms = room_graph(graph)
    print(f"files {len(graph)}, imports between them {sum(map(len, graph.values()))}")
    print(f"rooms {len(rooms)}, arrows {sum(map(len, rooms.values()))}")
    print(f"circles of files: {[sorted(circle) for circle in circles(graph)]}")
    print(f"circles of rooms: {[sorted(circle) for circle in circles(rooms)]}")
    for package in PACKAGES:
        top = [
            m for m in graph if m.startswith(package + ".") and m.count(".") == 1 and not _is_folder(m, graph)
        ]
        lines = sum(
            len(f.read_text("utf-8").splitlines())
            for m, f in source_files(root).items()
            if room_of(m).split(".")[0] == package
        )
        print(f"{package}: {len(top)} files at its top, {lines} lines")


def _is_folder(module: str, graph: dict[str, set[str]]) -> bool:
    return any(other.startswith(module + ".") for other in graph)


if __name__ == "__main__":
    main()
