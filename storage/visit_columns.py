"""The visit log's 43 columns, as @socialgouv/matomo-postgres has them (facts/visits.md, 7)."""

from __future__ import annotations

DIMENSIONS = tuple(f"dimension{number}" for number in range(1, 11))

OTHER_TYPES = {
    "serverdateprettyfirstaction": "date",
    "action_eventvalue": "numeric",
    "action_timestamp": "timestamptz",
    "usercustomproperties": "json",
    "usercustomdimensions": "json",
    "experiments": "jsonb",
}
"""Every other column is text."""

ACTION_COLUMNS = (
    "action_id",
    "action_timestamp",
    "action_type",
    "action_eventcategory",
    "action_eventaction",
    "action_eventname",
    "action_eventvalue",
    "action_timespent",
    "usercustomproperties",
    "usercustomdimensions",
    *DIMENSIONS,
    "action_url",
    "sitesearchkeyword",
    "action_title",
)
VISIT_COLUMNS = (
    "idsite",
    "idvisit",
    "actions",
    "country",
    "region",
    "city",
    "operatingsystemname",
    "devicemodel",
    "devicebrand",
    "visitduration",
    "dayssincefirstvisit",
    "visitortype",
    "sitename",
    "userid",
    "serverdateprettyfirstaction",
    "visitorid",
    "referrertype",
    "referrername",
    "resolution",
    "experiments",
)
STAGE_COLUMNS = ACTION_COLUMNS + VISIT_COLUMNS
"""The order of a row on its way to the database: what all actions of a visit share comes last."""


def type_of(column: str) -> str:
    """The column's Postgres type."""
    return OTHER_TYPES.get(column, "text")
