"""Read many small files in order, several at a time, so that slow storage does not delay each of them."""

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
    """Yield `read(item)` for each item, in order, while threads read the next ones.

    Args:
        read: reads one item; an exception that it raises is raised here.
        items: the items.
        ahead: number of items that are read or held at a time.
    """
    with ThreadPoolExecutor(READERS) as readers:
        waiting: deque[Future[Read]] = deque()
        for item in items:
            waiting.append(readers.submit(read, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
