"""The server: one port which stands in for every remote API, in this process or as a program."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import date
from types import TracebackType
from typing import Any, Protocol, Self

from sandbox.connections import Server
from sandbox.consent import CONSENT_PATH, ConsentPage
from sandbox.fault_answers import answer_instead
from sandbox.faults import DELIVERY_KINDS, Fault, Faults
from sandbox.google import TOKEN_PATH, SearchConsole, TokenEndpoint
from sandbox.matomo import Matomo
from sandbox.messages import (
    QUERY_PATH,
    SITES_PATH,
    Answer,
    Call,
    Request,
    html_answer,
    json_answer,
)
from sandbox.records import Record, Records
from sandbox.revisions import Numbers
from sandbox.social import Social
from sandbox.social_world import SocialWorld
from sandbox.visit_control import change_visits, shown_visits
from sandbox.visit_log import VisitLog
from sandbox.world import CLIENT_ID, CLIENT_SECRET, MATOMO_TOKEN, Metric, World

HOST = "127.0.0.1"


class Api(Protocol):
    def describe(self, request: Request) -> Call: ...

    def answer(self, request: Request, call: Call, faults: Sequence[Fault]) -> Answer: ...


class Sandbox:
    """The remote APIs of a world on a free port of 127.0.0.1, while the `with` block lasts.

    latency_seconds is slept before each API answer. The addresses hold from creation on.
    social: the accounts of the social platforms; their clock is its own.
    """

    def __init__(
        self,
        world: World,
        latency_seconds: float = 0.0,
        port: int = 0,
        social: SocialWorld | None = None,
    ) -> None:
        self.world = world
        self.latency_seconds = latency_seconds
        self.faults = Faults()
        self.records = Records()
        self.stopping = threading.Event()
        self._numbers = Numbers(world)
        self._matomo = Matomo(world, self._numbers)
        self.social = Social(social or SocialWorld())
        self._consent_page = ConsentPage(world)
        self._tokens = TokenEndpoint(world, self._consent_page, self.social.tokens)
        self._search_console = SearchConsole(world, self._numbers, self._tokens)
        self._server = Server((HOST, port), self.answer, self.stopping, world.now)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port = int(self._server.server_address[1])
        self.url = f"http://{HOST}:{self.port}"
        self.matomo_url = f"{self.url}/matomo/"
        self.token_url = f"{self.url}{TOKEN_PATH}"
        self.google_url = self.url

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()

    def environment(self) -> dict[str, str]:
        """The variables (contract: Environment) which point the program at this sandbox."""
        return {
            "MATOMO_API_URL": self.matomo_url,
            "MATOMO_API_TOKEN": MATOMO_TOKEN,
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "GOOGLE_API_ENDPOINT": self.google_url,
            "GOOGLE_TOKEN_URI": self.token_url,
            **self.social.environment(self.url),
        }

    def requests(self) -> list[Record]:
        """Every answered API request, in the order of the answers."""
        return self.records.all()

    def set_number(self, metric: Metric, site: int, day: date, value: int) -> None:
        """Revises a number at its source."""
        self._numbers.set(metric, site, day, value)

    @property
    def visit_log(self) -> VisitLog:
        """Matomo's visit log, to look into and to change behind a program's back."""
        return self._matomo.visit_log

    def warm(self, site: int, days: Iterable[date]) -> None:
        """Renders a site's days of the visit log ahead of the first request."""
        self.visit_log.warm(site, days)

    def set_clock(self, ahead_seconds: float) -> None:
        """Lets the Date of every answer be so far before the real time."""
        self._server.clock_ahead_seconds = ahead_seconds

    def unblock(self) -> None:
        """Lets Matomo forget its failed logins."""
        self._matomo.unblock()

    def reset(self) -> None:
        """Back to the world as it was: no faults, revisions, failed logins, new tokens, records."""
        self.faults.clear()
        self._numbers.clear()
        self.visit_log.clear()
        self.unblock()
        self.social.reset()
        self.records.clear()

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        """The answer to an API or control request, and the fault in how it is to be sent."""
        api = self._api(request.path)
        if api is None:
            return self._control(request), None
        self.social.watch(request)
        call = api.describe(request)
        arrived_at = self.records.begin(call)
        status = 500
        try:
            if self.latency_seconds:
                time.sleep(self.latency_seconds)
            faults = self.faults.meeting(call)
            delivery = next((fault for fault in faults if fault.kind in DELIVERY_KINDS), None)
            if delivery and delivery.kind == "slow":
                self.stopping.wait(delivery.seconds)
            answer = answer_instead(faults, request, call) or api.answer(request, call, faults)
            status = 0 if delivery and delivery.kind == "drop" else answer.status
        finally:
            self.records.end(request, call, status, arrived_at)
        return answer, delivery

    def _api(self, path: str) -> Api | None:
        if path in {"/matomo/", "/matomo/index.php"}:
            return self._matomo
        if path == CONSENT_PATH:
            return self._consent_page
        if path == TOKEN_PATH:
            return self._tokens
        if path == SITES_PATH or (path.startswith(SITES_PATH) and path.endswith(QUERY_PATH)):
            return self._search_console
        return self.social.api(path)

    def _control(self, request: Request) -> Answer:
        """The requests by which another process drives the sandbox."""
        try:
            return self._controlled(request)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return json_answer(400, {"error": f"{type(error).__name__}: {error}"})

    def _controlled(self, request: Request) -> Answer:
        match request.method, request.path:
            case "GET", "/sandbox/requests":
                seen = {"leaks": self.social.leaks, "trapped": self.social.trapped}
                return json_answer(200, {**self.records.summary(), **seen})
            case "POST", "/sandbox/faults":
                self.faults.replace([Fault.from_json(fault) for fault in request.json])
            case "POST", "/sandbox/numbers":
                for number in request.json:
                    self._set_number_from_json(number)
            case "GET", "/sandbox/visits":
                return json_answer(200, shown_visits(self.visit_log, dict(request.query)))
            case "POST", "/sandbox/visits":
                done = [change_visits(self.visit_log, change) for change in request.json]
                return json_answer(200, {"result": "success", "values": done})
            case "POST", "/sandbox/social":
                done = [self.social.change(change) for change in request.json]
                return json_answer(200, {"result": "success", "values": done})
            case "POST", "/sandbox/reset":
                self.reset()
            case _:
                return html_answer(404, "404 Not Found", "Not Found")
        return json_answer(200, {"result": "success"})

    def _set_number_from_json(self, number: dict[str, Any]) -> None:
        day = date.fromisoformat(number["day"])
        self.set_number(number["metric"], int(number["site"]), day, int(number["value"]))
