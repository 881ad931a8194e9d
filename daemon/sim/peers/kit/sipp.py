"""sipp as carrier or phone: a scenario is written as a score, one line a message, and read back as what it saw.

    Score().invite(sdp()).hear(100, 180).expect(200).ack().play(wav).pause(2000).bye().expect(200)
"""

import re
import socket
from pathlib import Path
from xml.sax.saxutils import escape

from .process import Child, tail
from .wait import until

USER_AGENT = "carrier-agent/7.3"


def sdp(direction="sendrecv", formats=((0, "PCMU/8000"), (101, "telephone-event/8000")), port="[media_port]", version=1, extra=()):
    """A session description of one audio stream. `port` is [rtpstream_audio_port] in scores that play."""
    rows = [
        "v=0", f"o=carrier 53655765 {version} IN IP[local_ip_type] [local_ip]", "s=-", "c=IN IP[media_ip_type] [media_ip]", "t=0 0",
        f"m=audio {port} RTP/AVP " + " ".join(str(number) for number, _ in formats),
        *(f"a=rtpmap:{number} {name}" for number, name in formats),
        *(f"a=fmtp:{number} 0-15" for number, name in formats if name.startswith("telephone")),
        "a=ptime:20", f"a={direction}", *extra,
    ]
    return "\n".join(rows)


PLAYED = "[rtpstream_audio_port]"
# What a score that sends digits must offer: sipp sends them as payload type 96, whatever was agreed.
WITH_DIGITS = ((0, "PCMU/8000"), (96, "telephone-event/8000"))


class Score:
    """Messages in order. Made by a caller (`invite` first) or a callee (`expect("INVITE")` first)."""

    def __init__(self, user="+15550100", host="[local_ip]"):
        self.user = user
        self.host = host
        self.steps = []
        self.cseq = 0
        self.callee = False
        self.records = []

    # ---- as a caller ----

    def invite(self, body=None, headers=(), again=False):
        """The first INVITE, or with `again` a re-INVITE in the dialog."""
        self.cseq += 1
        target = "[next_url]" if again else "sip:[service]@[remote_ip]:[remote_port]"
        to = None if again else "<sip:[service]@[remote_ip]:[remote_port]>"
        return self._request("INVITE", target, to, body, headers, retrans=True)

    def authenticate(self, username, password, body=None, headers=()):
        """The INVITE once more with what the challenge asked; an `expect(407, auth=True)` and an ACK stand before."""
        line = f"[authentication username={username} password={password}]"
        return self.invite(body, (*headers, line))

    def ack(self, failure=False):
        """Of a 2xx, or with `failure` of a final failure: that one has the branch and target of the INVITE."""
        target = "sip:[service]@[remote_ip]:[remote_port]" if failure else "[next_url]"
        return self._request("ACK", target, "[last_To]", None, (), cseq=f"{self.cseq} ACK", branch="[branch-2]" if failure else "[branch]")

    def cancel(self):
        return self._request("CANCEL", "sip:[service]@[remote_ip]:[remote_port]", "<sip:[service]@[remote_ip]:[remote_port]>", None, (),
                             cseq=f"{self.cseq} CANCEL", branch="[branch-{back}]", retrans=True)

    # ---- both ----

    def bye(self):
        self.cseq += 1
        return self._request("BYE", "[next_url]", None, None, (), retrans=True)

    def request(self, method, body=None, headers=(), kind="application/sdp"):
        """Any other request in the dialog, with a body of that kind."""
        self.cseq += 1
        return self._request(method, "[next_url]", None, body, headers, retrans=True, kind=kind)

    def hear(self, *statuses):
        """These may come, or not."""
        for status in statuses:
            self.steps.append(f'<recv response="{status}" optional="true"/>')
        return self

    def expect(self, what, auth=False, within_ms=15000, note=None):
        """A status or method that must come. `note` names a header whose value is kept: see `Run.noted`."""
        action = ""
        if note:
            action = f'<ereg regexp=".*" search_in="hdr" header="{note}:" assign_to="n{len(self.records)}"/><log message="{note}=[$n{len(self.records)}]"/>'
            self.records.append(note)
        if isinstance(what, int):
            rrs = ' rrs="true"' if what in (183, 200) else ""
            self.steps.append(f'<recv response="{what}"{" auth=%strue%s" % (chr(34), chr(34)) if auth else ""}{rrs} timeout="{within_ms}"><action>{action}</action></recv>'
                              if action else f'<recv response="{what}"{" auth=%strue%s" % (chr(34), chr(34)) if auth else ""}{rrs} timeout="{within_ms}"/>')
            return self
        if what == "INVITE" and not self.callee:
            self.callee = True
            self.cseq = 100
            # What we need to speak first later: both ends of the dialog, as this message names them.
            action += ('<ereg regexp=".*" search_in="hdr" header="From:" assign_to="far"/>'
                       '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="near"/>'
                       # Read here too: sipp refuses a scenario with a variable that is set and never read.
                       '<log message="dialog=[$near] [$far]"/>')
            self.records.append("+far")
        rrs = ' rrs="true"' if what == "INVITE" else ""
        self.steps.append(f'<recv request="{what}"{rrs} timeout="{within_ms}">' + (f"<action>{action}</action>" if action else "") + "</recv>")
        return self

    def either(self, *whats):
        """Whichever of these comes first; the last is the one waited for."""
        for what in whats[:-1]:
            self.steps.append(f'<recv request="{what}" optional="true"/>' if isinstance(what, str) else f'<recv response="{what}" optional="true"/>')
        return self.expect(whats[-1])

    def reply(self, status, reason="Reason", body=None, headers=(), contact=True):
        """To the last request received."""
        tag = "" if not self.callee else f";tag=[pid]UAS[call_number]"
        to = "[last_To:]" + (tag if self.callee and status > 100 else "")
        rows = [f"SIP/2.0 {status} {reason}", "[last_Via:]", "[last_From:]", to, "[last_Call-ID:]", "[last_CSeq:]"]
        if contact:
            rows.append("Contact: <sip:[local_ip]:[local_port]>")
        rows += [f"Server: {USER_AGENT}", *headers]
        return self._message(rows, body)

    def reply_in_dialog(self, status, reason="Reason", body=None, headers=()):
        """To a request within a dialog: its To has our tag already."""
        rows = [f"SIP/2.0 {status} {reason}", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]",
                "Contact: <sip:[local_ip]:[local_port]>", f"Server: {USER_AGENT}", *headers]
        return self._message(rows, body)

    def play(self, path, payload_type=0):
        """G.711 samples from a raw file, over and over until the call ends."""
        self.steps.append(f'<nop><action><exec rtp_stream="{path},-1,{payload_type}"/></action></nop>')
        return self

    def digits(self, digits):
        """As RFC 4733 events, offered as WITH_DIGITS (needs the right to send raw packets)."""
        self.steps.append(f'<nop><action><exec play_dtmf="{digits}"/></action></nop>')
        return self

    def pause(self, ms):
        self.steps.append(f'<pause milliseconds="{ms}"/>')
        return self

    # ---- how it is written ----

    def _request(self, method, target, to, body, headers, cseq=None, branch="[branch]", retrans=False, kind="application/sdp"):
        if branch == "[branch-{back}]":
            # sipp counts back over its own messages: the INVITE's branch is that of the step it stands in.
            invite = max(i for i, step in enumerate(self.steps) if "INVITE sip:" in step)
            branch = f"[branch-{len(self.steps) - invite}]"
        elif branch == "[branch-2]":
            invite = max(i for i, step in enumerate(self.steps) if "INVITE sip:" in step or "INVITE [next" in step)
            branch = f"[branch-{len(self.steps) - invite}]"
        if self.callee:
            near, far = "From: [$near];tag=[pid]UAS[call_number]", "To: [$far]"
        else:
            near = f"From: <sip:{self.user}@{self.host}:[local_port]>;tag=[pid]UAC[call_number]"
            far = f"To: {to}" if to and not to.startswith("[last") else "[last_To:]"
        rows = [
            f"{method} {target} SIP/2.0", f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}", near, far,
            "Call-ID: [call_id]", f"CSeq: {cseq or f'{self.cseq} {method}'}", "Max-Forwards: 70",
            f"Contact: <sip:{self.user}@[local_ip]:[local_port]>", f"User-Agent: {USER_AGENT}", *headers,
        ]
        if target == "[next_url]":
            rows.insert(1, "[routes]")
        return self._message(rows, body, retrans, kind)

    def _message(self, rows, body, retrans=False, kind="application/sdp"):
        if body:
            rows = [*rows, f"Content-Type: {kind}"]
        rows = [*rows, "Content-Length: [len]", "", body or ""]
        attribute = ' retrans="500"' if retrans else ""
        text = "\n".join(rows)
        self.steps.append(f"<send{attribute}><![CDATA[\n\n{text}\n]]></send>")
        return self

    def xml(self, name):
        steps = "\n".join(self.steps)
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{escape(name)}">\n{steps}\n</scenario>\n'


class Run:
    """One sipp at work."""

    def __init__(self, folder, name, score, local, remote, service="", port=5060, media_port=6000, calls=1, rate=None, limit=None,
                 timeout_s=60, extra=()):
        folder = Path(folder)
        self.name = name
        scenario = folder / f"{name}.xml"
        scenario.write_text(score.xml(name))
        self.messages = folder / f"{name}.messages"
        self.errors = folder / f"{name}.errors"
        self.log = folder / f"{name}.log"
        self.calls = calls
        host = f"[{remote}]" if ":" in remote and not remote.startswith("[") and remote.count(":") > 1 else remote
        command = [
            "sipp", host, "-sf", scenario, "-i", local, "-p", port, "-mi", local, "-mp", media_port, "-m", calls, "-nostdin",
            "-trace_err", "-error_file", self.errors, "-trace_logs", "-log_file", self.log, "-timeout", timeout_s, "-timeout_error",
        ]
        if calls <= 20:
            command += ["-trace_msg", "-message_file", self.messages]
        if service:
            command += ["-s", service]
        if rate:
            command += ["-r", rate]
        if limit:
            command += ["-l", limit]
        self.child = Child(name, [*command, *extra], folder, cwd=folder)
        if score.callee:
            until(f"sipp {name} to listen", lambda: _listens(local, port) or not self.child.running())

    def done(self, limit_s=90.0):
        """Waits for its end; fails with what it saw unless every call went as the score says."""
        code = self.child.wait(limit_s)
        if code != 0:
            raise AssertionError(f"sipp {self.name} ended with {code}\n{self.report()}")
        return self

    def stop(self):
        self.child.stop(2)

    def report(self):
        parts = []
        for path in (self.errors, self.messages):
            if path.exists():
                parts.append(f"---- {path.name}\n{tail(path.read_text(errors='replace'), 80)}")
        return "\n".join(parts) or tail(self.child.text())

    def counts(self):
        """(successful, failed) of its closing statistics."""
        text = self.child.text()
        ok = re.findall(r"Successful call\s*\|\s*\d+\s*\|\s*(\d+)", text)
        bad = re.findall(r"Failed call\s*\|\s*\d+\s*\|\s*(\d+)", text)
        return int(ok[-1]) if ok else 0, int(bad[-1]) if bad else 0

    def noted(self, header):
        return re.findall(rf"{header}=(.*)", self.log.read_text(errors="replace")) if self.log.exists() else []

    def received(self):
        """The SIP messages that it received, as text."""
        blocks = re.split(r"^-{20,}.*\n", self.messages.read_text(errors="replace"), flags=re.M)
        return [b.split(":\n\n", 1)[1] for b in blocks if "message received" in b.split("\n", 1)[0] and ":\n\n" in b]


def _listens(address, port):
    """Whether somebody has bound this UDP address, or listens on it by TCP, as the kernel tells."""
    family = "6" if ":" in address else ""
    packed = socket.inet_pton(socket.AF_INET6 if family else socket.AF_INET, address)
    words = "".join(f"{int.from_bytes(packed[i : i + 4], 'little'):08X}" for i in range(0, len(packed), 4))
    for kind, state in (("udp", ""), ("tcp", " 0A ")):
        with open(f"/proc/net/{kind}{family}") as table:
            if any(f" {words}:{port:04X} " in line and state in line for line in table):
                return True
    return False
