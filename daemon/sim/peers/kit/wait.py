"""Waiting for the thing itself, with a limit. Nothing here sleeps and hopes."""

import time

# A debug build on two busy cores; a failure costs this long, a success nothing.
LIMIT_S = 15.0


def until(what, condition, limit_s=LIMIT_S):
    """Asks `condition` until it is truthy and returns its answer; fails saying `what` did not come."""
    end = time.monotonic() + limit_s
    pause = 0.005
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit_s:g} s in vain for: {what}; last answer: {answer!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
