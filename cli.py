"""The command line. Imports nothing heavy: `--help` answers in under 0.3 s."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

COMMANDS = (
    "daily",
    "visits",
    "hourly",
    "social",
    "migrate",
    "doctor",
    "runs",
    "reconcile",
    "connect-gsc",
    "tokens",
    "demo",
)
SOURCES = ("matomo", "gsc")
EARLIEST = date(2000, 1, 1)
LATEST_YEAR = 9999

EXIT_CODES = """\
exit status:
  0    complete: everything asked for was fetched and stored
  1    incomplete: something failed; the failures are listed last, the rest is stored
  2    could not run: bad arguments or settings, database unreachable, no sites
  130  interrupted (143: terminated, 129: hung up); what was fetched is stored
"""

BEFORE_A_COMMAND = ("-v", "-q", "--verbose", "--quiet", "--log-format", "text", "json")
WITHOUT_COMMAND = "Without a command: daily; its options: aggregator.py daily --help\n"

DOCTOR = """\
Check settings, database, every credential and every site's access; change nothing.
One line for each problem: what is wrong and what mends it. -v also lists each site that is well.
"""
RECONCILE = """\
Read the sources again and compare with what is stored. Without dates: the 28 days that end
TARGET_DAYS_AGO days ago. Each number is equal, revised by the source since it was stored, missing,
or different without a known reason.
"""
CONNECT_GSC = """\
Ask Google for consent to read one account's Search Console, store its refresh token encrypted, and
list the sites that it covers.
"""
RUNS = """\
The run history, newest first: what each run was about, how it ended and why. Kept for 400 days.
"""
TOKENS = """\
Stored tokens, of gsc_accounts and platform_connections: --add reads one from standard input,
--encrypt encrypts those stored plain, --rotate encrypts all under the newest key of ENCRYPTION_KEY.
"""

VISITS = """\
Import Matomo's visit log (Live.getLastVisitsDetails) into the table DESTINATION_TABLE, one row per
action, as @socialgouv/matomo-postgres does. Without dates: from where the last run of each site
stopped, else from STARTDATE, else the last INITIAL_OFFSET days; today included.
"""

HOURLY = """\
Count analytics_events by hour and day, wherever something changed since they were last counted.
--all counts every hour again: a backfill of any length, which goes on where it was stopped.
"""

SOCIAL = """\
Account metrics of every active row of platform_connections (Instagram, Facebook, YouTube, LinkedIn)
into analytics_snapshots, one row per metric and day. Without dates: LOOKBACK_DAYS days, at least 7,
up to yesterday, and followers as of now.
"""

DAILY = """\
Fetch Matomo visits and Search Console clicks and impressions, and store them in daily_analytics.
Without dates: LOOKBACK_DAYS days, the last of them TARGET_DAYS_AGO days ago.
"""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command and its options. Prints help or a usage error and exits, as argparse does."""
    parser = _parser()
    words = _with_command(list(argv))
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        parser.error(f"there is no command {argv[0]!r}: {', '.join(COMMANDS)}")
    arguments, unknown = parser.parse_known_args(words)
    if unknown and arguments.command == "tokens":  # it may be a token
        parser.error("tokens takes no further words: a token goes to standard input")
    if unknown and arguments.command == "visits" and re.fullmatch("[0-9-]{10}", unknown[0]):
        parser.error(f"visits --from {unknown[0]} reads from that day on, up to today")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command == "tokens":
        _check_tokens(parser, arguments)
    if arguments.command == "hourly":
        _check_moments(parser, arguments)
    if arguments.command in ("daily", "reconcile", "visits", "social"):
        _check_days(parser, arguments)
    return arguments


def parse_day(text: str) -> date:
    """YYYY-MM-DD and nothing else that Python would take for a date."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-11-19")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day of the calendar") from None
    if day < EARLIEST:
        raise argparse.ArgumentTypeError(f"{text} lies before all web analytics")
    return day


def parse_hour(text: str) -> tuple[datetime, datetime]:
    """Beginning and end of a UTC day (YYYY-MM-DD) or hour (YYYY-MM-DDTHH)."""
    day, separator, hour = text.partition("T")
    first = datetime.combine(parse_day(day), time(), UTC)
    if first.year >= LATEST_YEAR:
        raise argparse.ArgumentTypeError(f"{text} lies after all web analytics")
    if not separator:
        return first, first + timedelta(days=1)
    if not re.fullmatch("[01][0-9]|2[0-3]", hour):
        raise argparse.ArgumentTypeError(f"{text!r} is no hour such as 2026-11-20T14 (UTC)")
    first += timedelta(hours=int(hour))
    return first, first + timedelta(hours=1)


def wanted_sources(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The sources that the command is to ask."""
    return (arguments.source,) if arguments.source else SOURCES


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _with_command(argv: list[str]) -> list[str]:
    """Put the command first; without one it is the nightly run."""
    for n, word in enumerate(argv):
        if word in COMMANDS:
            return [word, *argv[:n], *argv[n + 1 :]]
        if word in ("-h", "--help"):
            return argv
        if word.partition("=")[0] not in BEFORE_A_COMMAND:
            break
    return ["daily", *argv]


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    loudness = common.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="show every request")
    loudness.add_argument("-q", "--quiet", action="store_true", help="only failures and summary")
    common.add_argument("--log-format", choices=("text", "json"), default="text")
    parser = argparse.ArgumentParser(
        prog="aggregator.py",
        description="Brings the analytics of many web sites into your own Supabase or Postgres.",
        epilog=f"{WITHOUT_COMMAND}\nexample:\n  aggregator.py --date 2026-11-19\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    def add(name: str, summary: str, example: str, text: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[common],
            help=summary,
            description=text or summary,
            epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _add_daily_options(
        add(
            "daily",
            "the nightly run: Matomo and Search Console into daily_analytics",
            "aggregator.py daily --from 2026-10-01 --to 2026-10-31 --gaps",
            DAILY,
        )
    )
    _add_visits_options(
        add(
            "visits",
            "Matomo's visit log into the table DESTINATION_TABLE",
            "aggregator.py visits --matomo-site 42 --from 2026-10-01",
            VISITS,
        )
    )
    _add_hourly_options(
        add(
            "hourly",
            "analytics_events into analytics_events_hourly_agg and daily rows",
            "aggregator.py hourly --from 2026-11-20T14 --to 2026-11-20T17",
            HOURLY,
        )
    )
    _add_social_options(
        add(
            "social",
            "account metrics of the social platforms into analytics_snapshots",
            "aggregator.py social --connection 42 --date 2026-11-19",
            SOCIAL,
        )
    )
    migrate = add(
        "migrate", "apply supabase/migrations/ over DATABASE_URL", "aggregator.py migrate --status"
    )
    migrate.add_argument("--status", action="store_true", help="list the files, change nothing")
    doctor = add(
        "doctor",
        "check settings, database, credentials and every site's access; read-only",
        "aggregator.py doctor --site www.example.com",
        DOCTOR,
    )
    doctor.add_argument("--site", metavar="ID", help="explain this one site, by id or domain")
    doctor.add_argument("--json", action="store_true", help="everything as one JSON object")
    runs = add("runs", "the run history", "aggregator.py runs --last 5 --failed", RUNS)
    runs.add_argument(
        "--last", type=_count, default=20, metavar="N", help="how many runs (default: 20)"
    )
    runs.add_argument(
        "--failed", action="store_true", help="only runs that are not complete, with their failures"
    )
    runs.add_argument("--json", action="store_true", help="the rows as a JSON list, newest first")
    _add_reconcile_options(
        add(
            "reconcile",
            "read the sources again and compare with what is stored",
            "aggregator.py reconcile --from 2026-10-01 --to 2026-10-31 --sample 20",
            RECONCILE,
        )
    )
    connect = add(
        "connect-gsc",
        "Google's consent for one Search Console account; stores its refresh token",
        "aggregator.py connect-gsc --no-browser",
        CONNECT_GSC,
    )
    connect.add_argument(
        "--no-browser", action="store_true", help="print the address, ask for the answer: a server"
    )
    connect.add_argument(
        "--account", metavar="ID", help="renew this row of gsc_accounts (default: a new one)"
    )
    _add_tokens_options(
        add("tokens", "add or re-encrypt stored tokens", "aggregator.py tokens --rotate", TOKENS)
    )
    add(
        "demo",
        "everything on an embedded Postgres and stand-ins of the remote APIs; no account needed",
        "aggregator.py demo",
    )
    return parser


def _add_days(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", type=parse_day, metavar="D", help="first day")
    parser.add_argument("--to", dest="last", type=parse_day, metavar="D", help="last day")


def _add_visits_options(visits: argparse.ArgumentParser) -> None:
    visits.add_argument(
        "--matomo-site",
        dest="matomo_sites",
        action="append",
        type=_count,
        default=[],
        metavar="N",
        help="only this idSite (may be repeated; default: MATOMO_SITE)",
    )
    _add_days(visits)
    visits.add_argument(
        "--true-utc",
        action="store_true",
        help="a new table only: real UTC in action_timestamp, in place of Matomo's own value, "
        "which is the site's wall clock",
    )
    visits.set_defaults(date=None)


def _add_social_options(social: argparse.ArgumentParser) -> None:
    social.add_argument("--date", type=parse_day, metavar="D", help="this day alone")
    _add_days(social)
    social.add_argument(
        "--connection",
        dest="connections",
        action="append",
        default=[],
        metavar="ID",
        help="only this row of platform_connections (may be repeated)",
    )
    social.add_argument("--dry-run", action="store_true", help="fetch, show what would change")


def _add_hourly_options(hourly: argparse.ArgumentParser) -> None:
    what = hourly.add_mutually_exclusive_group()
    what.add_argument(
        "--all",
        action="store_true",
        help="count every hour again, and the days of those that changed",
    )
    what.add_argument(
        "--check",
        action="store_true",
        help="compare a random sample with the events; freshness, queue and pg_cron's jobs",
    )
    what.add_argument(
        "--archive",
        metavar="DIR",
        help="write the months of events that ended 90 days ago, or by --to, into Parquet files in "
        "DIR, compare, then take them out of the database",
    )
    hourly.add_argument(
        "--from",
        dest="first",
        type=parse_hour,
        metavar="T",
        help="first day or hour to count again, UTC (2026-11-20 or 2026-11-20T14)",
    )
    hourly.add_argument(
        "--to", dest="last", type=parse_hour, metavar="T", help="last day or hour, included"
    )


def _add_reconcile_options(reconcile: argparse.ArgumentParser) -> None:
    _add_days(reconcile)
    reconcile.add_argument(
        "--sample", type=_count, metavar="N", help="only N sites, chosen by chance"
    )
    reconcile.add_argument("--source", choices=SOURCES, help="only this source")
    reconcile.add_argument(
        "--repair", action="store_true", help="store the source's number where it differs"
    )
    reconcile.set_defaults(date=None)


def _add_tokens_options(tokens: argparse.ArgumentParser) -> None:
    actions = tokens.add_mutually_exclusive_group(required=True)
    for action, what in (
        ("add", "store one, read from standard input"),
        ("rotate", "encrypt every token under the newest key"),
        ("encrypt", "encrypt every token that is stored plain"),
    ):
        actions.add_argument(
            f"--{action}", dest="action", action="store_const", const=action, help=what
        )
    tokens.add_argument(
        "--account",
        metavar="ID",
        help="with --add: replace the token of this row of gsc_accounts (default: a new row)",
    )
    tokens.add_argument(
        "--connection",
        metavar="ID",
        help="with --add: replace the access token of this row of platform_connections",
    )
    tokens.add_argument(
        "--refresh", action="store_true", help="with --connection: its refresh token instead"
    )


def _add_daily_options(daily: argparse.ArgumentParser) -> None:
    daily.add_argument("--date", type=parse_day, metavar="D", help="this day alone (YYYY-MM-DD)")
    _add_days(daily)
    daily.add_argument(
        "--gaps", action="store_true", help="ask only for what is not known in these days"
    )
    daily.add_argument(
        "--site",
        dest="sites",
        action="append",
        default=[],
        metavar="ID",
        help="only this site, by id or domain (may be repeated)",
    )
    daily.add_argument("--source", choices=SOURCES, help="only this source")
    daily.add_argument(
        "--dry-run", action="store_true", help="fetch, show what would change, write nothing"
    )
    daily.add_argument(
        "--accept-zeros",
        action="store_true",
        help="store a day on which Matomo says 0 for every site",
    )


def _check_moments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Of `first` and `last`, make `first` and `after`: a stretch of time."""
    first, last = arguments.first, arguments.last
    if first and (arguments.all or arguments.check or arguments.archive):
        parser.error("--from and --to exclude --all, --check and --archive (but for its --to)")
    if last and (arguments.all or arguments.check):
        parser.error("--to goes with --from, or with --archive")
    if bool(first) != bool(last) and not arguments.archive:
        parser.error("--from and --to go together")
    arguments.first = first[0] if first else None
    arguments.after = last[1] if last else None
    if first and last and arguments.first >= arguments.after:
        parser.error("--from is after --to")


def _check_tokens(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    for name in ("account", "connection"):
        if getattr(arguments, name) is not None and arguments.action != "add":
            parser.error(f"--{name} goes with --add only")
    if arguments.account is not None and arguments.connection is not None:
        parser.error("--account and --connection exclude each other")
    if arguments.refresh and arguments.connection is None:
        parser.error("--refresh goes with --connection only")


def _check_days(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    first, last = arguments.first, arguments.last
    if arguments.date and (first or last):
        parser.error("--date and --from/--to exclude each other")
    if bool(first) != bool(last) and arguments.command != "visits":
        parser.error("--from and --to go together")
    if first and last and first > last:
        parser.error(f"--from {first} is after --to {last}")
