"""Print a script that completes `likeness` commands and their options in a shell.

For bash, add this line to ~/.bashrc:

    eval "$(likeness completion bash)"
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from augmentor.command_line import CommandParser, called_as
from jobs.likeness import COMMANDS, NAME

SHELLS = ("bash", "zsh", "fish")
# How the parsers name an argument that is a folder.
_FOLDERS = frozenset({"DIR", "RUN", "ALBUMS", "PHOTOS", "OUT"})


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m jobs.completion"),
        description="Print a script that completes commands and options in a shell.",
        epilog="""bash: eval "$(likeness completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc, after """
        "compinit; fish: likeness completion fish > ~/.config/fish/completions/likeness.fish",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell to print it for")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the script and return the exit code."""
    shell = make_parser().parse_args(arguments).shell
    print(script(shell))
    return 0


def script(shell: str) -> str:
    """Return the completion script of a shell.

    Args:
        shell: one of `SHELLS`.
    """
    import shtab

    text: str = shtab.complete(whole_parser(), shell)
    return text


def whole_parser() -> argparse.ArgumentParser:
    """Return a parser with all commands of `likeness` and their options, for completion only: it runs nothing."""
    import shtab

    whole = argparse.ArgumentParser(prog=NAME)
    whole.add_argument("--version", action="version", version="")
    commands = whole.add_subparsers()
    for command in COMMANDS:
        options = command.make_parser()
        for action in options._actions:
            if action.type is Path:
                action.complete = shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE  # type: ignore[attr-defined]
        commands.add_parser(command.name, help=command.summary, parents=[options], add_help=False)
    return whole


if __name__ == "__main__":
    sys.exit(main())
