"""What a process knows of the account behind a connection; all its loops and threads share it."""

from __future__ import annotations

from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.gate import Gate
from airflow_provider_falinvoke.api.schedule import Durations, PollSchedule


class Account:
    """The quota of an account, and how long its jobs take."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.durations = Durations()
        self._endpoint: Endpoint | None = None

    def adopt(self, endpoint: Endpoint) -> None:
        """Go by the connection as it is now; another key or host has another quota."""
        before, self._endpoint = self._endpoint, endpoint
        self.gate.set_quota(endpoint.extra.requests_per_minute, endpoint.extra.requests_per_hour)
        if before is None or (before.base_url, before.key) != (endpoint.base_url, endpoint.key):
            self.gate.forget()

    def look_at(self, schedule: PollSchedule, model_id: str | None, submitted_at: float, now: float) -> float:
        """Return when to look at a job again that is pending ``now``; all in epoch seconds."""
        known, scarce = self.durations.of(model_id), self.gate.is_scarce(now)
        return now + schedule.pause(now - submitted_at, known=known, scarce=scarce)


_accounts: dict[str, Account] = {}


def account_of(name: str) -> Account:
    """Return what is known of a connection's account in this process."""
    return _accounts.setdefault(name, Account())


def forget_accounts() -> None:
    """Begin anew: for tests, and for a process that was forked."""
    _accounts.clear()
