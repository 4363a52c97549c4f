"""All commands of this project under one name: `likeness COMMAND`.

`likeness --help` lists them. This file imports nothing of the project until a command is chosen, and then only the
module of that command. Each command can still be called as the module that it is, such as `python -m identity.train`.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

NAME = "likeness"


@dataclass(frozen=True)
class Command:
    """A command of `likeness`.

    Args:
        name: what the user types after `likeness`.
        group: heading under which `likeness --help` lists it.
        summary: what it does, in a few words.
        module: module that implements it.
        function: function in `module` that takes the arguments after the name and returns the exit code.
        parser_module: module that has `make_parser`; by default `module`.
    """

    name: str
    group: str
    summary: str
    module: str
    function: str = "main"
    parser_module: str = ""

    def make_parser(self) -> "argparse.ArgumentParser":
        """Return the parser of the command's options."""
        parser: argparse.ArgumentParser = self._load(self.parser_module or self.module, "make_parser")()
        return parser

    def run(self, arguments: Sequence[str]) -> int:
        """Run the command and return its exit code.

        Args:
            arguments: what the user typed after the command's name.
        """
        sys.argv = [f"{NAME} {self.name}", *arguments]
        code: int = self._load(self.module, self.function)(arguments)
        return code

    @staticmethod
    def _load(module: str, name: str) -> Any:
        return getattr(importlib.import_module(module), name)


MAKE_A_SET, TRAIN, NAME_PHOTOS, PEOPLE = "Make a set", "Train", "Name photos", "People"
ALBUMS, SERVER, CLUSTER, MEASURE, SHELL = "Albums", "Server", "Cluster", "Measure", "Shell"
COMMANDS = (
    Command(
        "augment",
        MAKE_A_SET,
        "Make a balanced training set from photos of each person.",
        "jobs.balancing.augment_job",
        parser_module="jobs.balancing.augment_settings",
    ),
    Command("show", MAKE_A_SET, "Draw what augment makes of one photo.", "augmentor.show"),
    Command("synthetic", MAKE_A_SET, "Draw photos of made-up people.", "augmentor.made_up.people"),
    Command("lfw", MAKE_A_SET, "Download Labeled Faces in the Wild.", "augmentor.photos.lfw"),
    Command("train", TRAIN, "Train a model on a balanced set.", "identity.train"),
    Command("pretrain", TRAIN, "Train the backbone on faces without names.", "identity.pretrain"),
    Command("export", TRAIN, "Write a model as a TensorFlow Lite file.", "identity.export"),
    Command("identify", NAME_PHOTOS, "Name the people on photos, one JSON line each.", "identity.identify"),
    Command("verify", NAME_PHOTOS, "Compare the faces on two photos.", "identity.verify"),
    Command(
        "identify-archive",
        NAME_PHOTOS,
        "Name the people of a whole archive, into a Parquet table.",
        "jobs.naming.identify_job",
        parser_module="jobs.naming.identify_settings",
    ),
    Command("people", PEOPLE, "List, rename or merge the people of a model.", "identity.people"),
    Command("enrol", PEOPLE, "Add a person without training.", "identity.enrol"),
    Command("forget", PEOPLE, "Delete a person and all that was made of the photos.", "identity.forget"),
    Command("organise", ALBUMS, "Sort photos into albums by person.", "identity.organise"),
    Command("serve", SERVER, "Serve a model over HTTP, with a web page.", "identity.serve"),
    Command("preflight", CLUSTER, "Check that a cluster has what a job needs.", "jobs.preflight", "run"),
    Command("evaluate", MEASURE, "Measure a model on test photos.", "identity.evaluate"),
    Command("demo", MEASURE, "Run all steps on made-up people.", "jobs.demo"),
    Command("models", MEASURE, "List the model files of others, with their terms.", "augmentor.models"),
    Command("completion", SHELL, "Print the completion script of a shell.", "jobs.completion"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Args:
        arguments: arguments without the program's name; None for those of this process.

    Returns:
        The exit code: that of the command, or 2 if there is no such command.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(table_of_contents(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"{NAME} {version()}")
        return 0
    command = next((command for command in COMMANDS if command.name == words[0]), None)
    if command is None:
        print(_no_such_command(words[0]), file=sys.stderr)
        return 2
    return command.run(words[1:])


def table_of_contents() -> str:
    """Return the text of `likeness --help`: every command with one line, by group."""
    width = max(len(command.name) for command in COMMANDS)
    lines = [
        f"usage: {NAME} COMMAND ...",
        "",
        "From a few photos per person to a model that names people and says unknown to everybody else.",
    ]
    group = ""
    for command in COMMANDS:
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {command.name:<{width}}  {command.summary}")
    return "\n".join(
        [*lines, "", f"{NAME} COMMAND --help explains a command. {NAME} --version prints the version."]
    )


def version() -> str:
    """Return the version of the installed package."""
    from importlib import metadata

    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _no_such_command(word: str) -> str:
    near = difflib.get_close_matches(word, [command.name for command in COMMANDS], n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"{NAME} --help lists the commands"
    return f"{NAME}: no command {word!r}; {advice}"


if __name__ == "__main__":
    if (Path(__file__).resolve().parent / "__init__.py").exists():
        # Run as a file: the packages are in the parent folder, and nothing may be imported from this one.
        sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
