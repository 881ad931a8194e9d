"""baresip: a phone not written here. Registers with digest, answers by itself, plays a WAV file, keeps what it hears."""

import json
import socket
from pathlib import Path

from . import audio
from .process import Child
from .wait import until

MODULES = next((str(p) for p in (Path("/usr/lib/baresip/modules"), Path("/usr/lib/x86_64-linux-gnu/baresip/modules")) if p.exists()), "/usr/lib/baresip/modules")


class Baresip:
    def __init__(self, folder, user, password, local, registrar, sound, port=5060, answer="auto", codecs="PCMU", register=True, name=None, rtp_ports="30000-33999", expires_s=60, srtp=False, dtls=False, transport="udp", ca=None, contacts=(), outbound=False):
        self.name = name or f"baresip-{user}"
        self.folder = Path(folder) / self.name
        self.folder.mkdir()
        self.local = local
        self.user = user
        self.sound = self.folder / "played.wav"
        audio.write_wav(self.sound, sound)
        host = f"[{local}]" if ":" in local else local
        target = f"[{registrar}]" if ":" in registrar else registrar
        (self.folder / "config").write_text("\n".join([
            "poll_method epoll", f"sip_listen {host}:{port}", f"net_interface {local}",
            f"audio_source aufile,{self.sound}", "audio_alert aufile,/dev/null", "audio_level no",
            "ausrc_srate 8000", "auplay_srate 8000", "ausrc_channels 1", "auplay_channels 1", "audio_buffer 20-160",
            f"rtp_ports {rtp_ports}", f"rtcp_mux {'yes' if dtls else 'no'}", "jitter_buffer_type off", "jitter_buffer_delay 0-0",
            f"module_path {MODULES}", "module g711.so", "module aufile.so", "module sndfile.so", "module srtp.so", *(["module dtls_srtp.so"] if dtls else []), "module ctrl_tcp.so",
            "module_tmp uuid.so", "module_tmp account.so", "module_app menu.so",
            *(["module_app contact.so", "module_app presence.so"] if contacts else []),
            f"ctrl_tcp_listen {host}:4444", f"snd_path {self.folder}",
            *([f"sip_cafile {ca}"] if ca else []), "",
        ]))
        interval = expires_s if register else 0
        secure = ";mediaenc=srtp-mand" if srtp else ";mediaenc=dtls_srtp" if dtls else ""
        # RFC 5626: an instance id and a reg-id of its own.
        flow = f';sipnat=outbound;outbound="sip:{target};transport={transport}"' if outbound else ""
        (self.folder / "accounts").write_text(
            f"<sip:{user}@{target}:{5061 if transport == 'tls' else 5060};transport={transport}>;auth_user={user};auth_pass={password};answermode={answer};regint={interval};audio_codecs={codecs}{secure}{flow}\n")
        (self.folder / "contacts").write_text("".join(f'"{other}" <sip:{other}@{target}>;presence=p2p\n' for other in contacts))
        self.events = []
        self._buffer = b""
        self.child = Child(self.name, ["baresip", "-f", self.folder, "-v"], folder)
        self.control = until(f"{self.name} to listen", self._connect)
        self.control.setblocking(False)

    def _connect(self):
        if not self.child.running():
            raise AssertionError(f"{self.name} ended at once: {self.child.text()}")
        try:
            return socket.create_connection((self.local, 4444), 1)
        except OSError:
            return None

    def registered(self, limit_s=15.0):
        until(f"{self.name} to register", lambda: "200 OK" in self.child.text() or self._seen("REGISTER_OK"), limit_s)
        return self

    def instance(self):
        """The URN that it registers as."""
        return f"urn:uuid:{(self.folder / 'uuid').read_text().strip()}"

    def command(self, command, params=""):
        """One of baresip's menu commands: dial, hangup, hold, resume, quit, …"""
        text = json.dumps({"command": command, "params": params, "token": "t"}).encode()
        self.control.setblocking(True)
        self.control.sendall(b"%d:%s," % (len(text), text))
        self.control.setblocking(False)

    def dial(self, target):
        self.command("dial", target)

    def hangup(self):
        self.command("hangup")

    def poll(self):
        """Reads what the control connection told: netstrings of JSON, events and answers."""
        try:
            while data := self.control.recv(65536):
                self._buffer += data
        except BlockingIOError:
            pass
        while b":" in self._buffer:
            length, rest = self._buffer.split(b":", 1)
            if len(rest) <= int(length):
                break
            self.events.append(json.loads(rest[: int(length)]))
            self._buffer = rest[int(length) + 1 :]
        return self.events

    def _seen(self, kind):
        return [e for e in self.poll() if e.get("type") == kind]

    def until_event(self, kind, count=1, limit_s=15.0):
        return until(f"{self.name}: {kind}", lambda: len(self._seen(kind)) >= count and self._seen(kind), limit_s)

    def established(self, count=1, limit_s=15.0):
        return self.until_event("CALL_ESTABLISHED", count, limit_s)

    def closed(self, count=1, limit_s=15.0):
        return self.until_event("CALL_CLOSED", count, limit_s)

    def heard(self):
        """What it received in its calls so far, as samples. Complete once a call is closed."""
        files = sorted(self.folder.glob("dump-*-dec.wav"))
        parts = [audio.read_wav(f) for f in files if f.stat().st_size > 44]
        return audio.np.concatenate(parts) if parts else audio.np.zeros(0, audio.np.int16)

    def stop(self):
        """Unregisters and ends."""
        self.child.stop(5)
        self.control.close()
