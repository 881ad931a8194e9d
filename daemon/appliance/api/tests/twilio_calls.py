"""Drives the calls of a running appliance with the `twilio` package, only its base URL changed.

Usage: twilio_calls.py BASE_URL ACCOUNT_SID TOKEN TO FROM
TO must ring for a few seconds without an answer, or be answered; each call made here is ended here.
"""

import sys
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit, urlunsplit

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

base, account, token, to, from_ = sys.argv[1:6]


class HereHttpClient(TwilioHttpClient):
    """The package's own client; scheme and host of each URL are those of the appliance."""

    def request(self, method, url, *args, **kwargs):
        here, there = urlsplit(base), urlsplit(url)
        url = urlunsplit((here.scheme, here.netloc, there.path, there.query, ""))
        return super().request(method, url, *args, **kwargs)


def refused(action, status, code):
    try:
        action()
    except TwilioRestException as error:
        assert (error.status, error.code) == (status, code), (error.status, error.code, error.msg)
        return error
    raise AssertionError(f"expected {status} {code}")


def ended(call):
    """A call that was ended is over within moments; wait for it, with a limit."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        call = call.fetch()
        if call.status in ("completed", "canceled", "failed", "busy", "no-answer"):
            return call
        time.sleep(0.05)
    raise AssertionError(f"{call.sid} is still {call.status}")


client = Client(account, token, http_client=HereHttpClient())
pause = "<Response><Pause length=\"30\"/></Response>"

# Who may.
refused(lambda: Client(account, "wrong", http_client=HereHttpClient()).calls("CA" + "0" * 32).fetch(), 401, 20003)
assert client.api.v2010.accounts(account).fetch().sid == account

# Make, read, redirect, end.
call = client.calls.create(
    to=to, from_=from_, twiml=pause, timeout=30,
    status_callback="http://127.0.0.1:9/status", status_callback_event=["initiated", "answered", "completed"],
)
assert call.sid.startswith("CA") and len(call.sid) == 34, call.sid
assert call.account_sid == account and call.direction == "outbound-api", call.direction
assert call.status in ("queued", "ringing", "in-progress"), call.status
assert abs(call.date_created - datetime.now(timezone.utc)) < timedelta(days=3650), call.date_created
assert call.end_time is None and call.duration is None and call.price is None
read = client.calls(call.sid).fetch()
assert (read.sid, read.to, read._from, read.api_version) == (call.sid, call.to, call._from, "2010-04-01")
assert call.sid in [c.sid for c in client.calls.list(limit=20)]
redirected = client.calls(call.sid).update(twiml=pause)
assert redirected.sid == call.sid
refused(lambda: client.calls(call.sid).delete(), 409, 20009)
client.calls(call.sid).update(status="completed")
over = ended(client.calls(call.sid).fetch())
assert over.end_time is not None and over.end_time.tzinfo is not None

# What is over stays over.
refused(lambda: client.calls(call.sid).update(twiml=pause), 400, 21220)
refused(lambda: client.calls("CA" + "0" * 31 + "7").fetch(), 404, 20404)
error = refused(lambda: client.calls.create(to=to, from_=from_), 400, 21205)
assert "Url" in error.msg, error.msg
refused(lambda: client.calls.create(to=to, from_=from_, url="no url"), 400, 21205)

# Pages: three more calls, two a page, walked by the package itself.
made = [client.calls.create(to=to, from_=from_, twiml=pause).sid for _ in range(3)]
for sid in made:
    client.calls(sid).update(status="completed")
    ended(client.calls(sid).fetch())
mine = [call.sid, *made]
walked = [c.sid for c in client.calls.stream(to=call.to, page_size=2) if c.sid in mine]
assert walked == mine[::-1], (walked, mine)
page = client.calls.page(page_size=2)
onward = page.next_page()
back = onward.previous_page()
assert [c.sid for c in back] == [c.sid for c in client.calls.page(page_size=2)]
day = over.start_time.replace(hour=0, minute=0, second=0)
assert call.sid in [c.sid for c in client.calls.list(start_time_after=day, start_time_before=day + timedelta(days=1))]
assert call.sid in [c.sid for c in client.calls.list(start_time=day)]
assert client.calls.list(start_time_after=day + timedelta(days=2)) == []
assert [c.sid for c in client.calls.list(status=over.status, to=call.to) if c.sid == call.sid] == [call.sid]

# Deleting.
for sid in mine:
    assert client.calls(sid).delete() is True
refused(lambda: client.calls(call.sid).fetch(), 404, 20404)

print(f"ok: {len(mine)} calls made, read, listed, redirected, ended and deleted")
