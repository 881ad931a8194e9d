"""Chromium without a screen, with a WAV file for its microphone: a page whose SIP user agent is the test, and one with SIP.js."""

import base64
import os
import shutil
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from . import audio
from .wait import until

# What every page has: `pc`, the one connection; what it hears is kept at 8 kHz: 48 kHz in, the mean of six samples out.
LISTENING = """
var pc, heard = [];
const MICROPHONE = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
async function listen(track) {
  // Chromium decodes only what somebody plays.
  const player = new Audio(); player.srcObject = new MediaStream([track]); player.play();
  const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const samples = new Float32Array(value.numberOfFrames);
    value.copyTo(samples, {planeIndex: 0, format: 'f32-planar'});
    const step = Math.round(value.sampleRate / 8000);
    for (let at = 0; at + step <= samples.length; at += step) {
      let sum = 0;
      for (let n = 0; n < step; n++) sum += samples[at + n];
      heard.push(Math.max(-1, Math.min(1, sum / step)) * 32767);
    }
    value.close();
  }
}
async function stats() {
  const found = {connection: pc.connectionState, ice: pc.iceConnectionState, dtls: pc.getSenders()[0]?.transport?.state};
  (await pc.getStats()).forEach(s => {
    if (s.type === 'inbound-rtp') Object.assign(found, {received: s.packetsReceived, energy: s.totalAudioEnergy, lost: s.packetsLost});
    if (s.type === 'outbound-rtp') found.sent = s.packetsSent;
    if (s.type === 'transport') Object.assign(found, {srtp: s.srtpCipher, tls: s.tlsVersion, role: s.dtlsRole});
    if (s.type === 'codec') found.codec = s.mimeType;
  });
  return found;
}
function take() {
  const bytes = new Uint8Array(Int16Array.from(heard).buffer);
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
"""

# One call, audio only, whose descriptions the test carries.
PAGE = f"""<!doctype html><title>call</title><script>{LISTENING}""" + """
var microphone = async () => (await navigator.mediaDevices.getUserMedia({audio: MICROPHONE})).getAudioTracks()[0];
async function begin() {
  pc = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  pc.ontrack = ({track}) => listen(track);
  return microphone();
}
function gathered() {
  return new Promise(done => {
    const look = () => { if (pc.iceGatheringState === 'complete') done(pc.localDescription.sdp); };
    pc.onicegatheringstatechange = look; look();
  });
}
async function offer() {
  if (!pc) pc_track = await begin();
  if (!pc.getSenders().length) pc.addTrack(pc_track, new MediaStream([pc_track]));
  await pc.setLocalDescription(await pc.createOffer());
  return gathered();
}
async function accepted(sdp) { await pc.setRemoteDescription({type: 'answer', sdp}); }
async function answer(sdp) {
  if (!pc) {
    const track = await begin();
    await pc.setRemoteDescription({type: 'offer', sdp});
    pc.addTrack(track, new MediaStream([track]));
  } else {
    await pc.setRemoteDescription({type: 'offer', sdp});
  }
  await pc.setLocalDescription(await pc.createAnswer());
  return gathered();
}
async function press(digits) {
  // Chromium begins a tone only when it is settled what one is: the sender exists since the answer.
  pc.getSenders()[0].dtmf.insertDTMF(digits, 120, 80);
}
let pc_track;
</script>"""


def binary():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        raise FileNotFoundError("no Chromium: make setup installs it")
    return found


class Browser:
    """A page with one call; the test carries its descriptions."""

    # Of a piece of sound, for it to be recognised.
    LIKENESS = 0.9

    def __init__(self, folder, sound, options=()):
        self.folder = folder / "browser"
        self.folder.mkdir()
        self.messages = []
        self.launch(sound, options)
        self.open()

    def launch(self, sound, options):
        microphone = self.folder / "microphone.wav"
        audio.write_wav(microphone, sound)
        self.playwright = sync_playwright().start()
        options = [
            *options, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}",
            "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required", "--disable-gpu", "--mute-audio",
            # Root, as in many containers, has no sandbox.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]
        self.browser = self.playwright.chromium.launch(executable_path=binary(), headless=True, args=options)
        self.page = self.browser.new_page()
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))

    def open(self):
        page = self.folder / "page.html"
        page.write_text(PAGE)
        self.page.goto(page.as_uri())

    def offer(self):
        return self.page.evaluate("offer()")

    def accepted(self, sdp):
        self.page.evaluate("sdp => accepted(sdp)", sdp)

    def answer(self, sdp):
        return self.page.evaluate("sdp => answer(sdp)", sdp)

    def press(self, digits):
        """As RFC 4733 events."""
        self.page.evaluate("digits => press(digits)", digits)

    def stats(self):
        return self.page.evaluate("stats()")

    def until(self, what, test, limit_s=15.0):
        """Until the statistics pass a test; returns them."""
        found = {}

        def passed():
            found.update(self.stats())
            return test(found) and found

        try:
            return until(what, passed, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the browser says {found} {self.messages}") from error

    def connected(self, limit_s=15.0):
        return self.until("the browser to be connected", lambda s: s["connection"] == "connected", limit_s)

    def heard(self):
        """What it heard so far, as samples at 8 kHz."""
        return np.frombuffer(base64.b64decode(self.page.evaluate("take()")), "<i2")

    def stop(self, *_):
        self.browser.close()
        self.playwright.stop()


# A phone made of SIP.js as it comes: registers, calls and is called over secure WebSocket.
PHONE = f"""<!doctype html><title>phone</title><audio id="remote"></audio><script>{LISTENING}</script>""" + """
<script type="module">
import { SimpleUser } from '/sip.js/platform/web/index.js';
const seen = window.seen = [];
window.start = async (server, user, domain, password) => {
  const phone = window.phone = new SimpleUser(server, {
    aor: `sip:${user}@${domain}`,
    media: {constraints: {audio: MICROPHONE, video: false}, remote: {audio: document.getElementById('remote')}},
    userAgentOptions: {authorizationUsername: user, authorizationPassword: password, logLevel: 'warn'},
  });
  phone.delegate = {
    onRegistered: () => seen.push('registered'),
    onCallReceived: () => { seen.push('called'); phone.answer(); },
    onCallAnswered: () => {
      pc = phone.session.sessionDescriptionHandler.peerConnection;
      pc.getReceivers().forEach(receiver => listen(receiver.track));
      seen.push('answered');
    },
    onCallHangup: () => seen.push('ended'),
    onServerDisconnect: () => seen.push('disconnected'),
  };
  await phone.connect();
  await phone.register();
};
window.ready = true;
</script>"""
ORIGIN = "https://phone.example"


class Webphone(Browser):
    """A page with SIP.js, served from ORIGIN without a server: what it asks for comes from here."""

    def __init__(self, folder, sound):
        # The certificates of tests are nobody's; what is shown here is SIP and media.
        super().__init__(folder, sound, options=["--ignore-certificate-errors"])

    def open(self):
        library = Path(os.environ.get("CACHE", Path.home() / ".cache/postern")) / "sip.js"

        def serve(route):
            path = route.request.url.removeprefix(ORIGIN)
            if path.startswith("/sip.js/"):
                route.fulfill(body=(library / path.removeprefix("/sip.js/")).read_text(), content_type="text/javascript")
            else:
                route.fulfill(body=PHONE, content_type="text/html")

        # Chromium asks the user before a page of the internet may reach addresses of the local network.
        self.page.context.grant_permissions(["local-network-access"])
        self.page.route(f"{ORIGIN}/**", serve)
        self.page.goto(f"{ORIGIN}/")
        self.page.wait_for_function("window.ready")

    def start(self, server, user, domain, password):
        try:
            self.page.evaluate("args => start(...args)", [server, user, domain, password])
        except Exception as error:
            raise AssertionError(f"{error}; the page says {self.messages}") from error

    def call(self, target):
        self.page.evaluate("target => phone.call(target)", target)

    def hang_up(self):
        self.page.evaluate("phone.hangup()")

    def saw(self, what, count=1, limit_s=15.0):
        try:
            until(what, lambda: self.page.evaluate("seen").count(what) >= count, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it saw {self.page.evaluate('seen')} and says {self.messages}") from error
