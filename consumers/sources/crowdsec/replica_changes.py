"""The changes of the CrowdSec replica, for retro-matching: each new replica is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from schemas.feed_ports import ChangeCursor, Changes, ChangingSource
from schemas.intel.verdicts import REPLICA

if TYPE_CHECKING:
    from consumers.sources.crowdsec.replica import Replica


class ReplicaChanges(ChangingSource):
    """A replica has the time of its build, but not what is new in it."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    @property
    @override
    def name(self) -> str:
        return REPLICA

    @property
    @override
    def position(self) -> ChangeCursor:
        return ChangeCursor(REPLICA, int(self._replica.built or 0))

    @override
    def changes_since(self, cursor: ChangeCursor) -> Changes:
        if self.position.step > cursor.step:
            return Changes(self.position, None)
        return Changes(cursor, frozenset())
