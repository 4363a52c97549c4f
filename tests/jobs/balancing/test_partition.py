"""Tests of `jobs.balancing.partition`: which people are worked on together."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.balancing.partition import known_names, partition_name, partitions_of

names = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=60)


@given(names, st.integers(1, 200), st.integers(1, 300))
def test_everybody_is_in_one_partition_with_the_place_among_all_as_label(
    people: set[str], per_class: int, images: int
) -> None:
    partitions = partitions_of(people, per_class, images)
    pairs = [pair for p in partitions for pair in zip(p.identities, p.labels, strict=True)]
    assert sorted(pairs) == list(zip(sorted(people), range(len(people)), strict=True))
    assert len({p.name for p in partitions}) == len(partitions)
    (bits,) = {p.bits for p in partitions}
    assert len(people) * per_class <= images << bits or bits == 24
    assert bits == 0 or len(people) * per_class > images << (bits - 1)


@given(names, st.text(min_size=1, max_size=8))
def test_a_new_person_changes_one_partition_as_long_as_the_number_of_partitions_stays(
    people: set[str], more: str
) -> None:
    before = {p.name: set(p.identities) for p in partitions_of(people, 1, 4)}
    after = {p.name: set(p.identities) for p in partitions_of(people | {more}, 1, 4)}
    if {name[:2] for name in before} == {name[:2] for name in after}:
        changed = [name for name in before | after if before.get(name) != after.get(name)]
        assert len(changed) == (more not in people)


@given(names, st.integers(1, 8), st.integers(1, 8))
def test_the_memory_of_fewer_or_more_partitions_is_used(people: set[str], before: int, after: int) -> None:
    earlier = partitions_of(people, 1, before)
    for partition in partitions_of(people, 1, after):
        known = set(known_names(partition, {p.name for p in earlier}))
        holders = {p.name for p in earlier if set(p.identities) & set(partition.identities)}
        assert holders <= known


def test_its_own_memory_is_enough() -> None:
    (partition,) = partitions_of(["Ann"], 1, 10)
    assert known_names(partition, {partition_name(0, 0), partition_name(1, 1)}) == ["00-00000000"]
