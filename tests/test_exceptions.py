from __future__ import annotations

import copy
import json
import pickle

import pytest

from airflow_provider_falinvoke import exceptions
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeError,
    FalInvokeInputError,
    FalInvokeJobFailedError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
    FalInvokeUnreachableError,
    from_dict,
    to_dict,
)

CLASSES = sorted(
    (cls for cls in vars(exceptions).values() if isinstance(cls, type) and issubclass(cls, FalInvokeError)),
    key=lambda cls: cls.__name__,
)

every_class = pytest.mark.parametrize("cls", CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert exceptions.__doc__
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in exceptions.__doc__] == []
    assert len(CLASSES) == 17


@every_class
def test_an_error_survives_the_way_from_the_triggerer_to_the_worker(cls: type[FalInvokeError]) -> None:
    error = cls("It went wrong.", request_id="r1", status_code=503)
    back = from_dict(json.loads(json.dumps(to_dict(error))))
    assert type(back) is cls
    assert (back.message, back.request_id, back.status_code) == ("It went wrong.", "r1", 503)
    assert str(back) == str(error)
    assert back.may_pass is error.may_pass


@every_class
def test_an_error_without_a_request_survives_it_too(cls: type[FalInvokeError]) -> None:
    back = from_dict(to_dict(cls("It went wrong.")))
    assert type(back) is cls
    assert (back.request_id, back.status_code, str(back)) == (None, None, "It went wrong.")


@every_class
def test_an_error_survives_pickling_and_copying(cls: type[FalInvokeError]) -> None:
    """Airflow pickles exceptions between its processes."""
    error = cls("It went wrong.", request_id="r1", status_code=503)
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(back) is cls
        assert (back.message, back.request_id, back.status_code) == ("It went wrong.", "r1", 503)
        assert str(back) == str(error)


@every_class
def test_str_names_the_request_id_once(cls: type[FalInvokeError]) -> None:
    assert str(cls("It went wrong.", request_id="r1")) == "It went wrong. (request_id: r1)"
    assert str(cls("The job r1 went wrong.", request_id="r1")) == "The job r1 went wrong."
    assert str(cls("It went wrong.")) == "It went wrong."


@pytest.mark.parametrize(
    "data", [{}, {"type": None, "message": None}, {"type": "ValueError", "message": ""}, {"type": ["x"]}]
)
def test_an_unknown_type_becomes_the_base_error_with_some_message(data: dict[str, object]) -> None:
    error = from_dict(data)
    assert type(error) is FalInvokeError
    assert str(error) == "the trigger reported an error without a message"


def test_a_subclass_from_elsewhere_comes_back_as_the_base_error_with_its_message() -> None:
    class OwnError(FalInvokeUnreachableError):
        pass

    back = from_dict(to_dict(OwnError("No answer.", request_id="r1")))
    assert type(back) is FalInvokeError
    assert str(back) == "No answer. (request_id: r1)"


def test_the_standard_types_catch_what_they_promise() -> None:
    assert issubclass(FalInvokeInputError, ValueError)
    assert issubclass(FalInvokeTimeoutError, TimeoutError)


def test_could_not_ask_and_the_job_failed_are_not_caught_by_one_another() -> None:
    assert not issubclass(FalInvokeUnreachableError, FalInvokeJobFailedError)
    assert not issubclass(FalInvokeTimeoutError, FalInvokeJobFailedError)
    assert FalInvokeJobFailedError.__bases__ == (FalInvokeError,)


def test_what_a_retry_cannot_mend_or_may_pay_twice_may_not_pass() -> None:
    hopeless = {cls.__name__ for cls in CLASSES if not cls.may_pass}
    assert hopeless == {
        "FalInvokeConfigError",
        "FalInvokeInputError",
        "FalInvokeAPIError",
        "FalInvokeAuthError",
        "FalInvokeNotFoundError",
        "FalInvokeAmbiguousSubmitError",
        "FalInvokeReplyTooLargeError",
        "FalInvokeJobRefusedError",
        "FalInvokeFlaggedError",
    }
    assert FalInvokeRateLimitError.may_pass
    assert not FalInvokeAmbiguousSubmitError.may_pass
