"""Read many small files in order, several at a time: storage that answers late is not waited for one by one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

READERS = 8
Item = TypeVar("Item")
Read = TypeVar("Read")


def read_in_order(
    read: Callable[[Item], Read], items: Iterable[Item], ahead: int = 2 * READERS
) -> Iterator[Read]:
    """`read` of each item, in order, `ahead` of them under way in threads; what it raises is raised here."""
    with ThreadPoolExecutor(READERS) as readers:
        waiting: deque[Future[Read]] = deque()
        for item in items:
            waiting.append(readers.submit(read, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
