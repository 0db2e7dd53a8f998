"""What a task does besides its paid job, and must not end with: announcements, lineage, notes, labels.

Between a POST that was accepted and the stored result nothing may raise but what is about that result itself. Here is
the one place that holds everything else back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_falinvoke.api.printable import printable

log = logging.getLogger(__name__)


@contextmanager
def not_stopping_the_task(what: str, request_id: str | None = None) -> Iterator[None]:
    """Say at WARNING what could not be done, and go on.

    Only for what is not about the result of the job. What ends a task on purpose (a deferral, a timeout, a signal) is
    no ``Exception``, and passes.

    :param what: the whole statement, such as ``The request_id could not be pushed to XCom``.
    :param request_id: the job of the task, where it is known and ``what`` does not name it.
    """
    try:
        yield
    except Exception as error:
        job = f"; its job is {request_id}" if request_id else ""
        reason = printable(f"{type(error).__name__}: {error}")
        log.warning("%s (%s). The task goes on%s.", what, reason, job, exc_info=True)
