"""A real carrier calls a real phone through a real Postern: once by a static route, once by a document.

sipp is the carrier, baresip the phone, nats-server the control plane, a small HTTP server the application. Everything
runs on addresses of 127.0.0.0/8 and ends with the demo. The exit code is 0 only when each side heard what the other sent
and every event arrived at the control plane.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

from kit import audio, box, capture, process, sipp  # noqa: E402
from kit.appserver import AppServer, Reply  # noqa: E402
from kit.baresip import Baresip  # noqa: E402
from kit.nats import Nats  # noqa: E402
from kit.net import Net  # noqa: E402
from kit.wait import until  # noqa: E402

from .screen import paint, quote, say, step, table, verdict  # noqa: E402

CARRIER_SOUND = audio.melody(101, 10)
PHONE_SOUND = audio.melody(202, 10)
PROMPT = audio.melody(303, 2)
TALK_MS = 5000
# Of the 300 ms windows received, at least so many must be what was sent, in order: a few at the edges never fit.
SHARE_MIN = 0.85
SECONDS_MIN = 3.0
MOS_MIN = 3.8
STREAM = "POSTERN_EVENTS"

DOCUMENTS = {
    "/voice": '<Response>\n  <Gather numDigits="1" timeout="10" action="/chosen">\n    <Play>/prompt.wav</Play>\n  </Gather>\n  <Hangup/>\n</Response>',
    "/chosen": '<Response>\n  <Dial timeout="15"><Client>alice</Client></Dial>\n</Response>',
}


class Demo:
    def __init__(self, folder):
        self.folder = folder
        self.net = Net()
        self.good = True
        self.children = []

    def run(self):
        began = time.monotonic()
        self.start()
        first = self.call("a call by a static route", box.NUMBER, self.static_score())
        second = self.call("a call by a document of the application server", box.NUMBER_APP, self.document_score(), gathers=True)
        self.deliver()
        self.close(first, second, time.monotonic() - began)
        return self.good

    def check(self, good, text):
        self.good &= bool(verdict(good, text))

    # ---- the stage ----

    def start(self):
        step("the stage")
        net = self.net
        self.nats = self.keep(Nats(self.folder, net.servers))
        self.app = self.keep(AppServer(net.servers))
        self.app["/status"] = Reply("", 204, "text/plain")
        for path, text in DOCUMENTS.items():
            self.app[path] = text
        audio.write_wav(self.folder / "prompt.wav", PROMPT)
        self.app["/prompt.wav"] = Reply((self.folder / "prompt.wav").read_bytes(), kind="audio/wav")
        (self.folder / "carrier.ul").write_bytes(audio.to_ulaw(CARRIER_SOUND))
        config = box.configuration(net, self.folder, self.app.url, self.nats.url)
        config["appliance"]["name"] = "edge-demo"
        config["log"]["level"] = "info"
        config["media"]["workers"] = [os.cpu_count() - 1]
        self.box = self.keep(box.Box(self.folder, config))
        self.phone = self.keep(Baresip(self.folder, "alice", box.PASSWORDS["alice"], net.client, net.box_clients, PHONE_SOUND))
        self.phone.registered()
        self.box.until_event("registration.added")
        say(f"  posternd     {net.box_carrier}:5060 to carriers, {net.box_clients}:5060 to phones   (configuration: {len(self.box.file.read_text().splitlines())} lines of YAML)")
        say(f"  sipp         {net.carrier}:5060, the carrier `acme`")
        say(f"  baresip      {net.client}:5060, registered as `alice` with digest")
        say(f"  application  {self.app.url}/voice")
        say(f"  nats-server  {self.nats.url}, JetStream")
        self.follow()

    def keep(self, child):
        self.children.append(child)
        return child

    def follow(self):
        """What happens, live, in the words of `postern events --follow`."""
        command = [str(box.binary("postern")), "--socket", str(self.box.socket), "events", "--follow"]
        self.follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def show():
            for line in self.follower.stdout:
                quote(line, "›")

        threading.Thread(target=show, daemon=True).start()

    # ---- the calls ----

    def static_score(self):
        score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED)).hear(100, 180).expect(200).ack()
        return score.play(self.folder / "carrier.ul").pause(TALK_MS).bye().expect(200)

    def document_score(self):
        # sipp sends digits from the port that it described as [media_port], and else from port 0, whence nobody is heard.
        offer = sipp.sdp(formats=sipp.WITH_DIGITS, extra=(f"a=x-played-from:{sipp.PLAYED}",))
        score = sipp.Score().invite(offer).hear(100, 180, 183).expect(200).ack()
        # The prompt is heard first; the digit interrupts nothing of the proof.
        score.pause(2200).digits("1").pause(1200)
        return score.play(self.folder / "carrier.ul").pause(TALK_MS + 500).bye().expect(200)

    def call(self, title, number, score, gathers=False):
        step(title)
        say(f"  {number} is dialed; what happens, live:")
        if gathers:
            for path, text in DOCUMENTS.items():
                say(f"  {path} returns:")
                quote(text)
        known = {c["sid"] for c in self.box.calls()}
        packets = capture.Capture(self.folder, self.net.prefix, name=f"call-{number[-1]}")
        earlier = len(self.phone.heard())
        run = sipp.Run(self.folder, f"carrier-{number[-1]}", score, self.net.carrier, f"{self.net.box_carrier}:5060", service=number)
        run.done()
        self.phone.closed(count=2 if gathers else 1)
        self.box.idle()
        seen = packets.stop()
        legs = [c for c in self.box.calls() if c["sid"] not in known]
        first = next(c for c in legs if not c.get("parent"))
        say()
        say(f"  postern explain {first['sid'][:10]}")
        quote(self.box.tool("explain", first["sid"])[1])
        say()
        heard_by_carrier = capture.heard(seen, self.net.carrier)
        heard_by_phone = self.phone.heard()[earlier:]
        self.prove("the phone heard the carrier", heard_by_phone, CARRIER_SOUND, PHONE_SOUND)
        self.prove("the carrier heard the phone", heard_by_carrier, PHONE_SOUND, CARRIER_SOUND)
        if gathers:
            match = audio.compare(heard_by_carrier, PROMPT)
            self.check(match.found >= 2, f"the carrier heard the prompt: {match.seconds:.1f} s of it recognised")
            asked = self.app.asked("/chosen")
            self.check(len(asked) == 1 and asked[0].params.get("Digits") == "1", "the digit reached the application server")
        return legs

    def prove(self, what, received, sent, other):
        match = audio.compare(received, sent)
        stray = audio.compare(received, other).found
        share = match.in_order / max(1, match.found)
        self.check(share >= SHARE_MIN and match.seconds >= SECONDS_MIN and stray == 0, f"{what}: {match.seconds:.1f} s recognised, {100 * share:.0f} % in order, nothing of its own")

    def deliver(self):
        """Every event to the control plane, before the books are closed."""
        self.follower.terminate()
        self.follower.wait()
        until("all events to be acknowledged", lambda: self.box.status()["delivery"]["spool_waiting"] == 0, 20)

    # ---- the books ----

    def close(self, first, second, took_s):
        step("the books")
        rows = []
        for name, legs in (("static", first), ("document", second)):
            for leg in legs:
                quality, media = leg.get("quality") or {}, leg.get("media") or {}
                party = leg["party"]
                rows.append([
                    name, leg["sid"][:10], party.get("trunk") or party.get("user") or party.get("uri"), media.get("codec", "-"),
                    quality.get("packets_received", "-"), quality.get("packets_sent", "-"), quality.get("packets_lost", "-"),
                    f"{quality.get('jitter_ms', 0):.1f}", f"{quality['mos']:.2f}" if quality.get("mos") else "-", f"{quality.get('first_packet_ms') or '-'}",
                ])
        table(["call", "leg", "party", "codec", "received", "sent", "lost", "jitter ms", "MOS", "first RTP ms"], rows)
        say()
        poor = [row[1] for row in rows if row[8] == "-" or float(row[8]) < MOS_MIN]
        self.check(rows and not poor, f"every leg had audio with a MOS of {MOS_MIN} or better" + (f", but {', '.join(poor)}" if poor else ""))
        say()
        status = self.box.status()
        delivery = status["delivery"]
        # Numbers are given out while we look: what must match is what the stream holds against the number acknowledged.
        stored = self.nats.count(STREAM)
        numbers = [int(body["sequence"]) for _, _, body in self.nats.messages(STREAM)]
        say()
        cost = status["media"].get("us_per_packet")
        table(["what", "figure"], [
            ["events numbered", status["events_seq"]],
            ["events at the control plane", stored],
            ["events waiting in the spool", delivery["spool_waiting"]],
            ["status callbacks at the application", len(self.app.asked("/status"))],
            ["RTP packets received / sent", f"{status['media']['packets_received']} / {status['media']['packets_sent']}"],
            ["media CPU per packet", f"{cost:.1f} us" if cost else "-"],
            ["demo took", f"{took_s:.0f} s"],
        ])
        say()
        self.check(numbers == list(range(1, len(numbers) + 1)) and stored >= status["events_seq"] - 2, "every event arrived at the control plane once, in order")
        terminal = [r for r in self.app.asked("/status") if r.params.get("CallStatus") == "completed"]
        self.check(len(terminal) == 1, "exactly one terminal callback")
        self.check(status["calls"] == 0 and status["media"]["streams"] == 0, "no call, no stream left")

    def end(self):
        if getattr(self, "follower", None) and self.follower.poll() is None:
            self.follower.terminate()
            self.follower.wait()
        for child in reversed(self.children):
            try:
                child.stop()
            except OSError:
                pass
        process.end_all()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="postern-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            good = demo.run()
        except (AssertionError, OSError) as error:
            say(paint(f"\nthe demo could not go on: {error}", "1;31"))
            for path in sorted(Path(folder).glob("*.out")):
                if path.stat().st_size:
                    say(f"  ---- {path.name}")
                    quote(process.tail(path.read_text(errors="replace"), 25))
            good = False
        finally:
            demo.end()
    say()
    say(paint("Both calls worked, and audio passed both ways.", "1;32") if good else paint("The demo FAILED.", "1;31"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
