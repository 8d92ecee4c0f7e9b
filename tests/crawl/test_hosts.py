"""Whose turn it is, on a clock that the test sets."""

import pytest

from curation.config import CrawlConfig
from curation.crawl.hosts import Schedule
from curation.crawl.request import Answer, Fetched
from curation.drops import Dropped, DropReason

A = ["http://a.test/1", "http://a.test/2", "http://a.test/3", "http://a.test/4"]
B = ["http://b.test/1", "http://b.test/2"]


def schedule(urls: list[str], crawl_delay: float = 0.0, **changes: object) -> Schedule:
    config = CrawlConfig.model_validate(changes)
    return Schedule(urls, range(len(urls)), config, lambda url: crawl_delay, now=0.0)


def good(url: str) -> Answer:
    return Answer(Fetched(b"x", url, 200, 0.1), url)


def bad(url: str, reason: DropReason = DropReason.TIMEOUT, retry_after: float | None = None) -> Answer:
    return Answer(Dropped(reason), url, retry_after)


def drain(turns: Schedule, now: float) -> list[int]:
    result = []
    while (index := turns.take(now)) is not None:
        result.append(index)
    return result


def test_a_host_has_one_connection_until_it_answers_and_then_its_share() -> None:
    turns = schedule(A, host_connections=2)
    assert drain(turns, 0.0) == [0]
    turns.done(0, good(A[0]), 1.0)
    assert drain(turns, 1.0) == [1, 2]
    turns.done(2, good(A[2]), 2.0)
    assert drain(turns, 2.0) == [3]
    assert turns.waiting == 0


def test_the_host_with_most_urls_comes_first() -> None:
    assert drain(schedule([*B, *A]), 0.0) == [2, 0]


def test_hosts_whose_connections_are_open_come_before_new_ones() -> None:
    turns = schedule([*A, *B], host_connections=1)
    assert turns.take(0.0) == 0
    turns.done(0, good(A[0]), 1.0)
    assert drain(turns, 1.0) == [1, 4]


def test_hosts_take_turns() -> None:
    turns = schedule([*A, *B], host_connections=1)
    assert drain(turns, 0.0) == [0, 4]
    turns.done(0, good(A[0]), 1.0)
    turns.done(4, good(B[0]), 1.0)
    assert drain(turns, 1.0) == [1, 5]


@pytest.mark.parametrize(("setting", "asked", "delay"), [(2.0, 0.0, 2.0), (0.0, 3.0, 3.0), (2.0, 3.0, 3.0)])
def test_starts_are_apart_by_the_longer_of_setting_and_crawl_delay(setting: float, asked: float, delay: float) -> None:
    turns = schedule(A, asked, host_delay_seconds=setting)
    assert drain(turns, 0.0) == [0]
    turns.done(0, good(A[0]), 0.1)
    assert drain(turns, delay - 0.01) == []
    assert turns.next_time() == delay
    assert drain(turns, delay) == [1]
    assert drain(turns, delay) == []


def test_a_host_that_fails_is_paused_longer_and_longer_and_then_given_up() -> None:
    turns = schedule([f"http://a.test/{n}" for n in range(9)], host_failures=4)
    now, pauses = 0.0, []
    for number in range(4):
        start = now
        while (index := turns.take(now)) is None:
            now = turns.next_time() or 0.0
        pauses.append(now - start)
        final = turns.done(index, bad(A[0]), now)
        assert final[0][0] == index == number
    assert pauses == [0.0, 0.0, 0.5, 1.0]
    assert [(index, answer.outcome.reason) for index, answer in final[1:]] == [
        (index, DropReason.HOST_GIVEN_UP) for index in range(4, 9)
    ]
    assert final[1][1].outcome.detail == "4 failures in a row, the last: timeout"
    assert turns.waiting == 0
    assert turns.next_time() is None


@pytest.mark.parametrize(
    "between", [good(A[1]), bad(A[1], DropReason.HTTP_CLIENT_ERROR), bad(A[1], DropReason.OPTED_OUT)]
)
def test_an_answer_of_any_kind_shows_that_a_host_lives(between: Answer) -> None:
    turns = schedule(A, host_failures=2)
    for index, answer in enumerate([bad(A[0]), between, bad(A[2])]):
        assert turns.take(float(index)) == index
        assert turns.done(index, answer, float(index)) == [(index, answer)]
    assert turns.take(9.0) == 3


def test_the_failure_of_a_host_redirected_to_is_not_held_against_the_first() -> None:
    turns = schedule(A, host_failures=1)
    turns.take(0.0)
    assert len(turns.done(0, bad("http://elsewhere.test/"), 0.0)) == 1


def test_a_refusal_without_a_request_says_nothing_of_the_host() -> None:
    turns = schedule(A, host_failures=1)
    turns.take(0.0)
    refused = Answer(Dropped(DropReason.CONNECTION_FAILED, "robots.txt"), A[0], asked=False)
    assert turns.done(0, refused, 0.0) == [(0, refused)]
    assert turns.take(0.0) == 1


@pytest.mark.parametrize("reason", [DropReason.RATE_LIMITED, DropReason.HTTP_SERVER_ERROR])
def test_a_url_is_tried_again_when_the_host_said_it_may(reason: DropReason) -> None:
    turns = schedule(A[:2], attempts=2)
    turns.take(0.0)
    assert turns.done(0, bad(A[0], reason, 5.0), 1.0) == []
    assert turns.waiting == 2
    assert drain(turns, 5.9) == []
    assert drain(turns, 6.0) == [0]
    assert turns.done(0, bad(A[0], reason, 5.0), 7.0) == [(0, bad(A[0], reason, 5.0))]
    assert drain(turns, 12.0) == [1]


def test_a_host_that_asks_for_too_long_a_wait_is_given_up_for_now() -> None:
    turns = schedule(A, max_wait_seconds=30.0)
    turns.take(0.0)
    final = turns.done(0, bad(A[0], DropReason.RATE_LIMITED, 31.0), 0.0)
    assert [answer.outcome.reason for _, answer in final] == [DropReason.RATE_LIMITED] * 4
    assert all(answer.outcome.reason.transient for _, answer in final)


def test_a_host_whose_turns_take_too_long_is_given_up_for_now() -> None:
    turns = schedule(A, host_delay_seconds=10.0, host_budget_seconds=15.0)
    assert turns.take(0.0) == 0
    assert len(turns.done(0, good(A[0]), 1.0)) == 1
    assert turns.take(10.0) == 1
    final = turns.done(1, good(A[1]), 11.0)
    assert [index for index, _ in final] == [1, 2, 3]
    assert final[-1][1].outcome == Dropped(DropReason.RATE_LIMITED, "its turns take longer than 15 s")
