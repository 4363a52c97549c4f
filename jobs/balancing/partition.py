"""Which people are worked on together: the unit of work, of resuming and of a shard.

People are dealt to 2^bits partitions by a hash of their names: the same names, the same partitions, on every machine;
a person who comes or goes changes one of them. `bits` is the smallest number for which a partition has some `images`
images on average, so it changes only when the set doubles; then every partition falls in two, and what was known of
the one is still known of both (`known_names`).
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_HASH_BITS = 64
_MOST_BITS = 24
_FARTHEST_BITS = 4  # a set that shrinks to less than a sixteenth at once is scanned anew


@dataclass(frozen=True)
class Partition:
    """Some people.

    Attributes:
        bits: of the hash that decide.
        number: of the partition, 0 to 2^bits - 1.
        identities: their names, sorted.
        labels: the place of each among all people, sorted.
    """

    bits: int
    number: int
    identities: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of its files."""
        return partition_name(self.bits, self.number)


def partitions_of(identities: Iterable[str], per_class: int, images: int) -> list[Partition]:
    """Deal people to partitions; those without people are left out.

    Args:
        identities: all names.
        per_class: images of each.
        images: wanted in a partition, on average at most.
    """
    names = sorted(identities)
    bits = 0
    while len(names) * per_class > images << bits and bits < _MOST_BITS:
        bits += 1
    dealt: dict[int, list[int]] = {}
    for label, name in enumerate(names):
        dealt.setdefault(_lot(name) >> (_HASH_BITS - bits), []).append(label)
    return [
        Partition(bits, number, tuple(names[label] for label in labels), tuple(labels))
        for number, labels in sorted(dealt.items())
    ]


def known_names(partition: Partition, names: Collection[str]) -> list[str]:
    """Of these names of partitions those that may hold some of the people; its own alone, if it is among them.

    Args:
        partition: with its people.
        names: of partitions with the same or another number of bits, in a set.
    """
    if partition.name in names:
        return [partition.name]
    found = []
    for bits in range(_MOST_BITS + 1):
        if bits <= partition.bits:
            numbers = range(
                partition.number >> (partition.bits - bits), (partition.number >> (partition.bits - bits)) + 1
            )
        elif bits - partition.bits <= _FARTHEST_BITS:
            more = bits - partition.bits
            numbers = range(partition.number << more, (partition.number + 1) << more)
        else:
            break
        found += [name for number in numbers if (name := partition_name(bits, number)) in names]
    return found


def partition_name(bits: int, number: int) -> str:
    """Of the files of a partition."""
    return f"{bits:02d}-{number:08d}"


def is_partition_name(name: str) -> bool:
    """Whether a name is one that `partition_name` gives."""
    return re.fullmatch(r"\d{2}-\d{8}", name) is not None


def _lot(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_HASH_BITS // 8).digest(), "big")
