"""Names that people of a run had before they were renamed or merged."""

from augmentor.errors import InputError
from augmentor.photos.names import found_name, printable
from identity.runs.bundle import Bundle


def refuse_former_name(bundle: Bundle, name: str, person: str | None = None) -> None:
    """Refuse a name that somebody else had before.

    Images and albums that were made under it are still called so: whoever got the name would get them, too, and
    forgetting one of the two would delete what belongs to the other.

    Args:
        bundle: the run.
        name: the name that somebody is to get.
        person: who is to get it, as the run calls the person now; None for somebody new.

    Raises:
        InputError: somebody else had the name.
    """
    for label, former in bundle.former_names.items():
        if label != person and found_name(name, former) is not None:
            raise InputError(
                f"{printable(name)}: {printable(label)} was called so before, and images and albums may still be; "
                "choose another name"
            )
