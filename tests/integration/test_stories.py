"""Attack stories of another author and their benign twins, without any source.

Run one by one, and all together by two instances that share a table, shuffled and partly late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.stories.__main__ import disturbing, is_found, serious, stories
from tests.bench.stories.background import background
from tests.bench.stories.harness import Prepared, disordered, in_order, run_shared

if TYPE_CHECKING:
    from tests.servers.azurite import Azurite

EVERY = stories()
MISSED = {"one-mobile-address"}
"""What is known not to be found: the carrier is usual for some of the accounts."""


async def test_each_story_is_found_and_its_twin_is_quiet() -> None:
    """Found: a guilty sign-in of Medium or above that names the right story."""
    prepared = Prepared(in_order(background()))
    try:
        await prepared.learn()
        ids = [record["Id"] for record in background() if "Id" in record]
        assert serious(prepared.findings, ids) == []
        for story in EVERY:
            found = is_found(story, await prepared.run(in_order(story.attack)))
            assert found or story.name in MISSED, story.name
            quiet = await prepared.run(in_order(story.twin))
            assert disturbing(story.twin, quiet) == set(), story.twin_is
    finally:
        prepared.close()


async def test_stories_are_found_by_two_instances_in_any_order(azurite: Azurite) -> None:
    """The records of one session are dealt out to both, shuffled, and a third is an hour late."""
    attacks = disordered([record for story in EVERY for record in story.attack], "attacks")
    learned = in_order(background())
    findings = await run_shared(azurite.connection_string, learned, attacks, 2)
    assert {story.name for story in EVERY if not is_found(story, findings)} <= MISSED


async def test_twins_are_quiet_with_two_instances_in_any_order(azurite: Azurite) -> None:
    """The same of what is benign."""
    twins = disordered([record for story in EVERY for record in story.twin], "twins")
    learned = in_order(background())
    quiet = await run_shared(azurite.connection_string, learned, twins, 2)
    assert {story.name: names for story in EVERY if (names := disturbing(story.twin, quiet))} == {}
