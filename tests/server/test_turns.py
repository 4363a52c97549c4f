"""Turns at the processes that decode photos are shared fairly among requests."""

import asyncio

from identity.server.turns import REQUEST, FairTurns


async def _request(
    turns: FairTurns, name: str, photos: int, done: list[str], hold: asyncio.Event | None = None
) -> None:
    REQUEST.set(name)

    async def photo() -> None:
        async with turns.turn():
            if hold is not None:
                await hold.wait()
            await asyncio.sleep(0)
            done.append(name)

    await asyncio.gather(*(photo() for _ in range(photos)))


def test_a_request_with_one_photo_does_not_wait_for_all_photos_of_another() -> None:
    async def run() -> list[str]:
        turns, done, hold = FairTurns(2), [], asyncio.Event()
        many = asyncio.create_task(_request(turns, "many", 20, done, hold))
        await asyncio.sleep(0.01)
        one = asyncio.create_task(_request(turns, "one", 1, done))
        await asyncio.sleep(0.01)
        hold.set()
        await asyncio.gather(many, one)
        return done

    done = asyncio.run(run())
    assert len(done) == 21 and "one" in done[:4]


def test_a_request_that_is_given_up_gives_its_turns_back() -> None:
    async def run() -> list[str]:
        turns, done, hold = FairTurns(1), [], asyncio.Event()
        stuck = asyncio.create_task(_request(turns, "stuck", 5, done, hold))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(_request(turns, "next", 2, done))
        await asyncio.sleep(0.01)
        stuck.cancel()
        await asyncio.wait_for(waiting, 5)
        assert not turns._shares and turns._free == 1
        return done

    assert asyncio.run(run()) == ["next", "next"]


def test_turns_alternate_between_requests() -> None:
    async def run() -> list[str]:
        turns, done = FairTurns(1), []
        await asyncio.gather(_request(turns, "a", 4, done), _request(turns, "b", 4, done))
        return done

    done = asyncio.run(run())
    assert sorted(done) == ["a"] * 4 + ["b"] * 4
    assert set(done[:3]) == {"a", "b"}
