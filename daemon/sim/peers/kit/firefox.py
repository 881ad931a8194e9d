"""Firefox without a screen, by WebDriver BiDi: the page of `browser`, whose microphone is a sound made in the page."""

import base64
import itertools
import json
import re
import subprocess

import numpy as np
from websockets.sync.client import connect

from . import audio, browser
from .process import Child
from .wait import until

# Candidates of the loopback, and by their addresses: nobody there answers names of mDNS. Sound plays without a click.
PREFERENCES = {
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # A page that may not hear is told of no address but the one of the default route.
    "permissions.default.microphone": 1,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # Nothing of the network beside the call.
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
# Its microphone is a player, and what it hears is recorded: without a sound card its AudioContext, which could do both, never runs.
SOUND = """
function (wav) {
  microphone = async () => {
    const player = new Audio(URL.createObjectURL(new Blob([Uint8Array.from(atob(wav), c => c.charCodeAt(0))], {type: 'audio/wav'})));
    player.loop = true;
    await player.play();
    return player.mozCaptureStream().getAudioTracks()[0];
  };
  listen = track => {
    recorder = new MediaRecorder(new MediaStream([track]), {audioBitsPerSecond: 256000});
    recorder.ondataavailable = event => heard.push(event.data);
    recorder.start(100);
  };
  take = async () => {
    let text = '';
    for (const byte of new Uint8Array(await new Blob(heard).arrayBuffer())) text += String.fromCharCode(byte);
    return btoa(text);
  };
}"""


class Firefox(browser.Browser):
    """The same page."""

    # Its sound goes through 44.1 kHz, and so comes a part of a sample late: half a one leaves 0.76 of the likeness of a melody of 300 to 3000 Hz.
    LIKENESS = 0.65

    def launch(self, sound, _options):
        profile = self.folder / "profile"
        profile.mkdir()
        (profile / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()))
        words = ["firefox-esr", "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0", "about:blank"]
        self.child = Child("firefox", words, self.folder, {"HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"})
        address = until("Firefox to listen", lambda: re.search(r"WebDriver BiDi listening on (ws://\S+)", self.child.text()), 60)
        self.page = Page(f"{address.group(1)}/session")
        audio.write_wav(self.folder / "microphone.wav", sound)

    def open(self):
        super().open()
        self.page.evaluate(SOUND, base64.b64encode((self.folder / "microphone.wav").read_bytes()).decode())

    def heard(self):
        (self.folder / "heard.ogg").write_bytes(base64.b64decode(self.page.evaluate("take()")))
        words = ["ffmpeg", "-v", "error", "-i", str(self.folder / "heard.ogg"), "-ac", "1", "-ar", "8000", "-f", "s16le", "-"]
        # A recording that goes on has no proper end; what there is of it is decoded.
        return np.frombuffer(subprocess.run(words, capture_output=True, timeout=30).stdout, "<i2")

    def stop(self, *_):
        self.page.close()
        self.child.stop()


class Page:
    """What the tests use of Playwright's page, for a browser that it does not drive."""

    def __init__(self, url):
        self.socket = connect(url, max_size=None, legacy=True)
        self.numbers = itertools.count(1)
        self.ask("session.new", capabilities={})
        self.context = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            found = json.loads(self.socket.recv(30))
            if found.get("id") == number:
                assert found["type"] == "success", found
                return found["result"]

    def goto(self, url):
        self.ask("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def evaluate(self, code, argument=None):
        """An expression, or a function and its argument; what it comes to, awaited."""
        call = code if argument is None else f"({code})({json.dumps(argument)})"
        told = self.ask("script.evaluate", expression=f"(async () => JSON.stringify(await ({call})))()", target={"context": self.context}, awaitPromise=True)
        assert told["type"] == "success", told["exceptionDetails"]["text"]
        return json.loads(told["result"]["value"]) if told["result"]["type"] == "string" else None

    def close(self):
        self.socket.close()
