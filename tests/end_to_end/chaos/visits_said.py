"""What Matomo's visit log said of each visit, as the table is to hold it: a few columns of a row.

The columns are rendered here anew, from the sandbox's answers, and not by the program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

# Visits that these spoil fail alone, by name: the rest of their day is complete without them.
NAMED_KINDS = frozenset({"no_actions", "empty_actions", "no_timestamp", "broken_visit"})

Row = tuple[str, str, datetime, str | None, str | None, str]
"""idsite, action_id, action_timestamp, action_url, action_title, actions."""
Version = frozenset[Row]
"""All rows of a visit as it was at some time."""
Visits = dict[int, Version]
"""By idVisit, in which the site is."""


@dataclass
class SaidVisits:
    """versions: visits that came whole. parts: rows of those that were spoiled.

    to_name: those of them that the run must name, with the site and day that were asked for.
    """

    versions: dict[int, set[Version]] = field(default_factory=lambda: defaultdict(set))
    parts: dict[int, set[Row]] = field(default_factory=dict)
    to_name: dict[int, tuple[int, date]] = field(default_factory=dict)

    def hear(self, page: Any) -> None:
        """One page of an answer; what is no list says nothing."""
        for visit in page if isinstance(page, list) else []:
            if isinstance(visit, dict) and visit.get("actionDetails"):
                if all("timestamp" in action for action in visit["actionDetails"]):
                    self.versions[visit["idVisit"]].add(version_of(visit))
                else:
                    self.parts.setdefault(visit["idVisit"], set()).update(version_of(visit))

    def note_spoiled(self, page: Any, unspoiled: Any, asked: tuple[int, date] | None) -> None:
        """asked: site and day, None where the answer does not arrive."""
        for visit in unspoiled if isinstance(page, list) else []:
            if visit not in page:
                self.parts.setdefault(visit["idVisit"], set())
                if asked is not None:
                    self.to_name[visit["idVisit"]] = asked

    def add(self, other: SaidVisits) -> None:
        for visit, versions in other.versions.items():
            self.versions[visit] |= versions
        for visit, rows in other.parts.items():
            self.parts.setdefault(visit, set()).update(rows)

    def allows(self, visit: int, before: Version, after: Version) -> bool:
        """Whether these rows may have become those: one version that came whole; or, of a visit
        that came in parts, what was there with what was said, and no action gone."""
        whole = self.versions.get(visit, set())
        if after in whole:
            return True
        parts = self.parts.get(visit)
        if parts is None or not after <= before.union(parts, *whole):
            return False
        return bool(whole) or {row[1] for row in before} <= {row[1] for row in after}


def version_of(visit: Mapping[str, Any]) -> Version:
    """The rows of a visit of an answer; NUL characters cannot be stored."""
    return frozenset(
        (
            str(visit["idSite"]),
            f"{visit['idVisit']}_{index}",
            datetime.fromtimestamp(action["timestamp"], UTC),
            _without_nul(action.get("url")),
            _without_nul(action.get("title")),
            str(visit["actions"]),
        )
        for index, action in enumerate(visit["actionDetails"])
        if "timestamp" in action
    )


def _without_nul(text: str | None) -> str | None:
    return text if text is None else text.replace("\0", "")
