"""Partitions: groups of people who are worked on together; the unit of work, of resuming, and of a shard.

People are dealt to 2^bits partitions by a hash of their names. The same names give the same partitions on every
machine, and a person who is added or removed changes only one of them. `bits` is the smallest number for which a
partition has about `images` images on average, so it changes only when the set doubles. Then every partition splits in
two, and what was known of the whole is still known of both halves (`known_names`).
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_HASH_BITS = 64
_MOST_BITS = 24
_FARTHEST_BITS = 4  # a set that shrinks to less than a sixteenth at once is scanned again


@dataclass(frozen=True)
class Partition:
    """A group of people.

    Attributes:
        bits: number of bits of the hash that decide.
        number: number of the partition, 0 to 2^bits - 1.
        identities: the people's names, sorted.
        labels: the index of each among all people, sorted.
    """

    bits: int
    number: int
    identities: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the partition in its files' names."""
        return partition_name(self.bits, self.number)


def partitions_of(identities: Iterable[str], per_class: int, images: int) -> list[Partition]:
    """Deal people to partitions; partitions without people are left out.

    Args:
        identities: all names.
        per_class: images of each person.
        images: largest average number of images in a partition.

    Example:
        >>> [part.identities for part in partitions_of(["Anna", "Bo", "Cem"], per_class=100, images=200)]
        [('Bo',), ('Anna', 'Cem')]
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
    """Return those names of partitions that may hold some of these people.

    If the partition's own name is among them, only that is returned.

    Args:
        partition: a partition with its people.
        names: names of partitions with the same or another number of bits.
    """
    if partition.name in names:
        return [partition.name]
    related = []
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
        related += [name for number in numbers if (name := partition_name(bits, number)) in names]
    return related


def partition_name(bits: int, number: int) -> str:
    """Return the name of a partition in its files' names."""
    return f"{bits:02d}-{number:08d}"


def is_partition_name(name: str) -> bool:
    """Return whether a name is one that `partition_name` returns."""
    return re.fullmatch(r"\d{2}-\d{8}", name) is not None


def _lot(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_HASH_BITS // 8).digest(), "big")
