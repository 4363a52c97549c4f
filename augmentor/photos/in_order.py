"""Call a function for many items, several at a time, and give the results in the order of the items.

`Executor.map` does the same, but it takes all items at once, and holds all results that nobody has fetched. (Python
3.14 has `buffersize` for that.)
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

READERS = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Args:
        executor: calls the function.
        function: an exception that it raises is raised here.
        items: fetched one by one, as results are.
        ahead: largest number of items that are being worked on or held.
    """
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read_in_order(
    read: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2 * READERS
) -> Iterator[Result]:
    """Yield `read(item)` for each item, in order, while threads read the next ones.

    Slow storage then does not delay each small file.

    Args:
        read: reads one item; an exception that it raises is raised here.
        items: the items.
        ahead: largest number of items that are being read or held.

    Example:
        >>> list(read_in_order(str.upper, "abc"))
        ['A', 'B', 'C']
    """
    with ThreadPoolExecutor(min(READERS, ahead)) as readers:
        yield from in_order(readers, read, items, ahead)
