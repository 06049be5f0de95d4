"""Everything one sequence needs: clocks, sites, the sandbox, a database; and how a night is run."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.fernet import Fernet

from config import Settings
from fetchers.gsc import oldest_kept_day, pacific_today
from sandbox import Fault, seed
from sandbox.social_world import LINKEDIN_CLIENT_SECRET
from sandbox.world import CLIENT_ID, CLIENT_SECRET, MATOMO_TOKEN, REFRESH_TOKEN_PREFIX
from tests.end_to_end.chaos.children import Child
from tests.end_to_end.chaos.evidence import Configured, Evidence, HistoryRow, wanted_cells
from tests.end_to_end.chaos.heard import Cell, Heard, Said
from tests.end_to_end.chaos.plans import (
    LONG_TIMEOUT,
    NIGHTS,
    SHORT_TIMEOUT,
    Ask,
    Change,
    Plan,
    Profile,
)
from tests.end_to_end.chaos.program import Outcome, run_program
from tests.end_to_end.chaos.social_changes import change_social
from tests.end_to_end.chaos.social_said import SocialState, new_world
from tests.end_to_end.chaos.stores import DESTINATIONS, DatabaseFault, Store
from tests.end_to_end.chaos.visit_changes import change_log
from tests.end_to_end.chaos.visits_said import SaidVisits
from tests.end_to_end.chaos.world import (
    ACCOUNTS,
    LOG_SITES,
    NOBODY,
    SITES,
    ChaosWorld,
    number_of,
)
from tests.integration.tables import execute
from tests.services.authorities import one_authority
from tests.services.postgres import PostgresServer

KEY = Fernet.generate_key().decode()
QUIET_SECONDS = 10
LINKEDIN_VERSION_AGE = timedelta(days=90)
Run = Callable[[list[str], Settings, datetime], Outcome]


@dataclass
class Tally:
    """What really happened, over all sequences of a process."""

    sequences: int = 0
    runs: int = 0
    met: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Interruption:
    """A signal at the program's at-th request, or while it writes to a table for the at-th time."""

    signum: signal.Signals
    at: int = 1
    relation: str | None = None


class Stage:
    """One sandbox and one database for many sequences; `begin` makes them new."""

    def __init__(self, kind: str, postgres: PostgresServer, tally: Tally) -> None:
        self.tally = tally
        self.now = NIGHTS[0]
        world = ChaosWorld(
            sites=SITES,
            accounts=ACCOUNTS,
            without_boundary=frozenset({5}),
            today=lambda: pacific_today(self.now),
            now=lambda: self.now,
            actions_per_visit=3,
            midnight_visits=1,
            same_second_visits=2,
        )
        self.heard = Heard(world, new_world(lambda: self.now))
        self.world = world
        self.store = Store(kind, postgres, world, KEY)
        self.events_touched = False
        self.begin(Profile(), self.now, range(1, 6))

    def begin(self, profile: Profile, now: datetime, sites: Any) -> None:
        """A new sequence: empty tables, a world without faults, these sites deployed."""
        self.profile, self.now, self.skew = profile, now, timedelta(0)
        self.sites: dict[int, Configured] = {}
        self.ever = Said()
        self.touched: set[date] = set()
        self.ever_visits = SaidVisits()
        self.log_touched: set[date] = set()
        self.log_upset: set[int] = set()
        self.log_due: set[int] = set()
        self.social: SocialState | None = None
        if self.events_touched:
            self.store.forget_events()
        self.events_touched = False
        self._revision = 0
        self.well = True
        self._terminated = False
        self.store.reset()
        self.heard.reset()
        self.heard.latency_seconds = 0.0
        self._mend_world()
        self._store_tokens()
        for site in sites:
            self._add(site)
        self.tally.sequences += 1

    def _store_tokens(self) -> None:
        for account in self.world.account_numbers:
            token = self.world.refresh_token(account)
            if self.profile.encrypted:
                token = Fernet(KEY).encrypt(token.encode()).decode()
            self.store.set_token(account, token)

    def _mend_world(self) -> None:
        self.world.owners.clear()
        self.world.hidden.clear()
        self.heard.look_again()

    def _add(self, site: int) -> None:
        """Site 7 is not in Matomo, site 8 not in Search Console."""
        account = None if site == 8 else self.world.account_of(site)
        account = account or None  # nobody's property is nobody's site either
        columns = {
            "matomo_site_id": None if site == 7 else site,
            "gsc_account_id": None if account is None else seed.account_id(account),
        }
        self.store.add_site(site, **columns)
        self.sites[site] = Configured(site != 7, account)

    def change(self, change: Change) -> None:
        """One change of the sites, the sources or the database, now."""
        site = change.site
        match change.kind:
            case "add_site" if site not in self.sites:
                self._add(site)
            case "delete_site" if site in self.sites and len(self.sites) > 1:
                del self.sites[site]
                self.store.delete_site(site)
            case "move_site" if site in self.sites and change.account != NOBODY:
                self.sites[site] = replace(self.sites[site], account=change.account)
                self.store.set_account(site, change.account)
            case "move_property":
                self.world.owners[site] = change.account
            case "hide":
                self.world.hidden.symmetric_difference_update({site})
                self.heard.look_again()
            case "revise":
                self._revise(change)
            case "add_visit" | "add_action" | "remove_action":
                visit = change_log(self.heard.visit_log, self.world, change)
                if visit is None:
                    return
                self.log_upset.add(visit)
                # A visit that is shorter now may belong to the day before.
                day = self.log_today(change.site) - timedelta(days=change.days_ago + 1)
                self.log_touched.add(day)
            case (
                "social_revise"
                | "social_hold"
                | "social_publish"
                | "social_revoke"
                | "social_reconnect"
            ) if self.social is not None:
                if not change_social(self.heard.social, self.store, self.social, change):
                    return
            case "terminate":
                self.store.terminate()
                self._terminated = True  # PostgREST finds out at its next request
            case _:
                return
        self.tally.met[f"change {change.kind}{' during a run' if change.at else ''}"] += 1

    def _revise(self, change: Change) -> None:
        """The source has another number now; a search without impressions has no clicks."""
        self._revision += 1
        day = self.world.today() - timedelta(days=change.days_ago)
        for metric in ("visits", "clicks", "impressions"):
            number = number_of(metric, change.site, day, self._revision)
            zero = change.zero and (metric != "visits" or not self._many_zeros(change.site, day))
            self.heard.set_number(metric, change.site, day, 0 if zero else number)

    def _many_zeros(self, site: int, day: date) -> bool:
        """True zeros of nearly every site would rightly be doubted."""
        others = set(self.world.site_numbers) - {site}
        return sum(self.heard.number("visits", other, day) == 0 for other in others) > 1

    def night(self, plan: Plan, run: Run = run_program, **more: Any) -> Evidence:
        """Run once while the plan goes wrong around it; what that left behind."""
        early = [change for change in plan.changes if not change.at]
        if self.skew and plan.ask.is_long_ago:
            # A clock that is wrong takes days for kept that Search Console keeps no longer.
            plan = replace(plan, ask=Ask())
        for change in early:
            self.change(change)
        sites, upset = dict(self.sites), self._misplaced()
        before, now = self.store.stored(), self.now + self.skew
        today = self.local_today()
        wanted = wanted_cells(plan, self.profile, today, sites, before)
        self.touched |= {day for _, day in wanted.rows}
        trace = self.run(plan, self._words(plan, today), run, **more)
        self.ever.add(self.heard.said)
        return Evidence(
            **trace,
            wanted=wanted,
            sites=sites,
            before=before,
            after=self.store.stored(),
            said=self.heard.said,
            ever=self.ever,
            site_of={seed.site_id(site): site for site in self.world.site_numbers},
            deleted=frozenset(sites.keys() - self.sites.keys()),
            upset=frozenset(upset | self._misplaced() | {c.site for c in trace["fired"]}),
            oldest=oldest_kept_day(pacific_today(now)),
        )

    def run(self, plan: Plan, words: list[str], run: Run, **more: Any) -> dict[str, Any]:
        """Run any job while the plan goes wrong around it; the fields of its Trace."""
        known_rows = len(self.store.runs())
        fired = self._arm(plan)
        outcome = run(words, self._settings(plan), self.now + self.skew)
        self._wait_until_quiet()
        database_met = self._disarm(plan) or self._terminated
        self._get_well()
        self.tally.runs += 2 if more.get("alone") is False else 1
        return {
            "store": self.store.kind,
            "plan": plan,
            "profile": self.profile,
            "outcome": outcome,
            "rows": [HistoryRow(*row[1:]) for row in self.store.runs()[known_rows:]],
            "records": self.heard.requests(),
            "asked": self.heard.asked,
            "refused": self.heard.refused,
            "most_in_flight": self.heard.records.most_in_flight().get("total", 0),
            "met": list(self.heard.faults.met),
            "secrets": self._secrets(),
            "database_met": database_met,
            "fired": tuple(fired),
            "skewed": bool(self.skew),
            **more,
        }

    def _get_well(self) -> None:
        """What a restart of the database has left behind is over."""
        if self._terminated:
            self.store.wait_until_well()
        self._terminated = False

    def interrupted_night(self, plan: Plan, interruption: Interruption) -> Evidence:
        """A night in a process of its own that gets a signal."""
        plan, run, more = self.interrupting(plan, interruption)
        return self.night(plan, run, **more)

    def interrupting(
        self, plan: Plan, interruption: Interruption
    ) -> tuple[Plan, Run, dict[str, bool]]:
        """What is to be planned and run for a signal, and what the evidence says of it."""
        killed = interruption.signum == signal.SIGKILL

        def run(words: list[str], settings: Settings, now: datetime) -> Outcome:
            child = Child(words, settings, now)
            if interruption.relation is None:
                self.heard.at(interruption.at, lambda: child.send(interruption.signum))
            else:
                self._signal_while_it_writes(child, interruption)
            return child.end()

        if interruption.relation is not None:
            slow = DatabaseFault("slow_statement", interruption.at, 1, interruption.relation)
            plan = replace(plan, database=slow)
        place = interruption.relation or "a request"
        self.tally.met[f"{interruption.signum.name} at {place}"] += 1
        return plan, run, {"killed": killed, "stopped": not killed}

    def _signal_while_it_writes(self, child: Child, interruption: Interruption) -> None:
        give_up_at = time.monotonic() + 3
        while not self.store.tripped() and child.runs() and time.monotonic() < give_up_at:
            time.sleep(0.005)
        child.send(interruption.signum)

    def two_nights(self, plan: Plan) -> tuple[Evidence, list[int]]:
        """The same night twice at once; the evidence of both together, and both exit statuses."""
        run, statuses = self.twice()
        return self.night(plan, run, alone=False), statuses

    def twice(self) -> tuple[Run, list[int]]:
        """A run of two at once, which tells of the worse one; both exit statuses, afterwards."""
        statuses: list[int] = []

        def run(words: list[str], settings: Settings, now: datetime) -> Outcome:
            children = [Child(words, settings, now) for _ in range(2)]
            outcomes = [child.end() for child in children]
            statuses.extend(outcome.status for outcome in outcomes)
            worst = max(outcomes, key=lambda outcome: outcome.status)
            return Outcome(worst.status, "\n".join(outcome.out for outcome in outcomes))

        self.tally.met["two runs at once"] += 1
        return run, statuses

    def _arm(self, plan: Plan) -> list[Change]:
        """Everything of the plan that is to go wrong; changes join the list when they happen."""
        fired: list[Change] = []

        def later(change: Change) -> Callable[[], None]:
            def happen() -> None:
                fired.append(change)
                self.change(change)

            return happen

        self.heard.begin()
        self.heard.faults.add(*plan.faults)
        for change in plan.changes:
            if change.at:
                self.heard.at(change.at, later(change))
        if plan.database is not None:
            self.store.arm(plan.database)
        return fired

    def _disarm(self, plan: Plan) -> bool:
        met: Counter[Fault] = self.heard.faults.met
        self.tally.met.update({f"{f.source} {f.kind}" for f in met})
        if plan.deadline_seconds < 1:
            self.tally.met["deadline"] += 1
        self.heard.faults.clear()
        self.heard.at_request.clear()
        database_met = self.store.disarm()
        if plan.database is not None and database_met:
            self.tally.met[f"{self.store.kind} {plan.database.kind}"] += 1
        return database_met

    def _wait_until_quiet(self) -> None:
        """A real run's process has ended by now: its threads here must not disturb the next."""
        give_up_at = time.monotonic() + QUIET_SECONDS
        while self.heard.busy() or any("(_work)" in t.name for t in threading.enumerate()):
            if time.monotonic() > give_up_at:
                raise AssertionError("threads of a run that has ended do not end")
            time.sleep(0.005)

    def local_today(self) -> date:
        """The day that the program's clock shows in TIMEZONE."""
        return (self.now + self.skew).astimezone(ZoneInfo(self.profile.zone)).date()

    def log_today(self, site: int) -> date:
        """The day that it is where the site of the visit log is."""
        return self.now.astimezone(self.world.zone_of(site)).date()

    @property
    def visit_log_table(self) -> str:
        return DESTINATIONS[self.profile.partitioned]

    def forget_own_open_runs(self) -> None:
        self.store.forget_open_runs(os.getpid())

    def _misplaced(self) -> set[int]:
        """Sites that the sources do not have where the table says."""
        moved = {s for s, c in self.sites.items() if c.account != self.world.account_of(s)}
        return moved | (self.world.hidden & self.sites.keys())

    def _settings(self, plan: Plan) -> Settings:
        profile, social = self.profile, self.heard.social.environment(self.heard.url)
        return Settings(
            **self.store.settings(),
            matomo_api_url=self.heard.matomo_url.rstrip("/"),
            matomo_api_token=MATOMO_TOKEN,
            google_client_id=CLIENT_ID,
            google_client_secret=CLIENT_SECRET,
            google_api_endpoint=self.heard.google_url,
            google_token_uri=self.heard.token_url,
            graph_api_url=social["GRAPH_API_URL"],
            instagram_api_url=social["INSTAGRAM_API_URL"],
            youtube_api_endpoint=social["YOUTUBE_API_ENDPOINT"],
            linkedin_api_url=social["LINKEDIN_API_URL"],
            linkedin_token_uri=social["LINKEDIN_TOKEN_URI"],
            linkedin_client_id=social["LINKEDIN_CLIENT_ID"],
            linkedin_client_secret=social["LINKEDIN_CLIENT_SECRET"],
            # Each lives for a year.
            linkedin_version=f"{self.now - LINKEDIN_VERSION_AGE:%Y%m}",
            encryption_keys=(KEY,) if profile.encrypted else (),
            target_days_ago=profile.target_days_ago,
            lookback_days=profile.lookback,
            timezone=ZoneInfo(profile.zone),
            concurrency=profile.concurrency,
            gsc_requests_per_minute=profile.gsc_per_minute,
            http_attempts=profile.attempts,
            http_timeout_seconds=SHORT_TIMEOUT if plan.is_slow else LONG_TIMEOUT,
            matomo_sites_per_request=profile.sites_per_request,
            visit_log_sites=LOG_SITES,
            destination_table=self.visit_log_table,
            partitioned=profile.partitioned,
            initial_offset_days=profile.offset,
            results_per_page=profile.page,
            run_deadline_seconds=plan.deadline_seconds,
        )

    def _words(self, plan: Plan, today: date) -> list[str]:
        ask = plan.ask
        words = ["daily", *ask.style]
        if ask.days is not None:
            window = ask.window(today, self.profile.target_days_ago, self.profile.lookback)
            words += ["--from", str(window.first), "--to", str(window.last)]
            words += ["--gaps"] if ask.gaps else []
        for site in ask.sites:
            words += ["--site", seed.site_id(site)]
        words += ["--source", ask.source] if ask.source else []
        return words + (["--dry-run"] if ask.dry_run else [])

    def _secrets(self) -> list[str]:
        prefixes = [REFRESH_TOKEN_PREFIX, "sandbox-access-token-", "gAAAAA", KEY]
        prefixes += ["sandbox-social-", "sandbox-page-token-", LINKEDIN_CLIENT_SECRET]
        return [MATOMO_TOKEN, CLIENT_SECRET, *prefixes, *self.store.secrets()]

    def mend_everything(self) -> None:
        """All faults end: clocks agree, and the table names each property's own account."""
        self._get_well()
        self.skew = timedelta(0)
        self.profile = replace(
            self.profile, target_days_ago=max(1, self.profile.target_days_ago), concurrency=16
        )
        self._mend_world()
        for site, configured in list(self.sites.items()):
            if configured.account not in (None, self.world.account_of(site)):
                self.sites[site] = replace(configured, account=self.world.account_of(site))
                self.store.set_account(site, self.world.account_of(site))


@contextmanager
def open_stage(kind: str, postgres: PostgresServer, tally: Tally) -> Iterator[Stage]:
    """A stage over psycopg or over REST."""
    with warnings.catch_warnings(), one_authority():
        # The program leaves its connections to the end of its process, which does not end here.
        warnings.simplefilter("ignore", ResourceWarning)
        stage = Stage(kind, postgres, tally)
        try:
            with stage.heard:
                yield stage
        finally:
            stage.store.close()
            execute(postgres.url(), f'drop database "{stage.store.name}" with (force)')
            gc.collect()


__all__ = ["Cell", "Interruption", "Stage", "Tally", "open_stage"]
