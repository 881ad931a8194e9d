"""A voice, and a line that it goes over: real speech sent as RTP packet by packet, some of them lost when wanted, and what came out at the other end."""

import ctypes
import random
import re
import socket
import subprocess
import threading
import time
import wave
from pathlib import Path

import numpy as np

from . import audio, sip
from .talk import reply

# As opus_defines.h has them.
OPUS_APPLICATION_VOIP = 2048
OPUS_SET_BITRATE = 4002

TEXT = ("The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth of a well. "
        "These days a chicken leg is a rare dish. Rice is often served in round bowls.")


def resample(samples, rate, to):
    """Band-limited, in one go: a filter of 128 taps, and what lies between samples drawn straight at four times the rate."""
    cut = 0.475 * min(rate, to) / rate
    taps = np.arange(-64, 65)
    smooth = np.convolve(samples.astype(float), 2 * cut * np.sinc(2 * cut * taps) * np.hamming(129), "same")
    fine = np.fft.irfft(np.fft.rfft(smooth), 4 * len(smooth)) * 4 if rate < 4 * to else smooth
    at = np.arange(0, len(samples) - 1, rate / to) * (len(fine) / len(smooth))
    return np.interp(at, np.arange(len(fine)), fine)


def spoken(folder, rate=8000, text=TEXT, voice="en-us"):
    """Speech of espeak-ng at a rate."""
    path = folder / f"{voice}.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", str(path), text], check=True, timeout=60)
    return levelled(recorded(path, rate))


def person(rate=8000):
    """A person who says where loudspeakers stand: recordings of alsa-utils. G.729 is made of voices, and makes less of an artificial one."""
    return levelled(np.concatenate([recorded(path, rate) for path in sorted(Path("/usr/share/sounds/alsa").glob("[FRS]*.wav"))]))


def recorded(path, rate):
    with wave.open(str(path)) as source:
        return resample(np.frombuffer(source.readframes(source.getnframes()), "<i2"), source.getframerate(), rate)


def levelled(samples):
    """As loud as a telephone's, 16 bits, in a quiet room."""
    # -26 dB of full scale, the level at which G.711 and its judges are calibrated (ITU-T P.56 speaks of active speech; pauses are few here).
    speech = samples * (32768 * 10 ** (-26 / 20)) / np.sqrt(np.mean(samples**2))
    # The floor of a quiet room, -61 dB: the digital silence of a machine between words would have PESQ judge what G.711 makes of nothing.
    room = np.random.default_rng(1).normal(0, 30, len(speech))
    return np.clip(speech + room, -32768, 32767).astype(np.int16)


def keys(digits, ms=80, pause_ms=80, level=-13.0):
    """Digits as tones (ITU-T Q.23), 8000 samples a second."""
    rows, columns, layout = (697, 770, 852, 941), (1209, 1336, 1477, 1633), "123A456B789C*0#D"
    found = []
    for digit in digits:
        at = layout.index(digit)
        t = np.arange(ms * 8) / 8000
        found += [sum(np.sin(2 * np.pi * hz * t) for hz in (rows[at // 4], columns[at % 4])) * 32767 * 10 ** (level / 20), np.zeros(pause_ms * 8)]
    return np.concatenate(found).astype(np.int16)


def digits_in(folder, samples):
    """What multimon-ng hears of digits in 8000 samples a second."""
    path = folder / "digits.raw"
    path.write_bytes(resample(samples, 8000, 22050).astype("<i2").tobytes())
    found = subprocess.run(["multimon-ng", "-q", "-a", "DTMF", "-t", "raw", str(path)], capture_output=True, text=True, timeout=60, check=True)
    return "".join(line.split()[-1] for line in found.stdout.splitlines() if line.startswith("DTMF"))


def description(address, port, formats=("0 PCMU/8000",), events=None):
    """An offer or answer of these formats, with telephone-event under a number."""
    numbers = [each.split()[0] for each in formats] + ([str(events)] if events else [])
    rows = [f"a=rtpmap:{each}" for each in formats] + ([f"a=rtpmap:{events} telephone-event/8000", f"a=fmtp:{events} 0-15"] if events else [])
    return "\r\n".join(["v=0", f"o=- 7 7 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0", f"m=audio {port} RTP/AVP {' '.join(numbers)}", *rows, "a=ptime:20", "a=sendrecv", ""])


def frames(samples, payload=audio.to_ulaw, size=160):
    """Payloads of 20 ms."""
    padded = np.concatenate([samples, np.zeros(-len(samples) % size, np.int16)])
    return [payload(padded[at : at + size]) for at in range(0, len(padded), size)]


def opus(samples, bitrate=24_000):
    """Opus payloads of 20 ms of 8000 Hz, by libopus itself."""
    lib = ctypes.CDLL("libopus.so.0")
    lib.opus_encoder_create.restype = ctypes.c_void_p
    encoder = ctypes.c_void_p(lib.opus_encoder_create(8000, 1, OPUS_APPLICATION_VOIP, None))
    lib.opus_encoder_ctl(encoder, OPUS_SET_BITRATE, ctypes.c_int32(bitrate))
    room = ctypes.create_string_buffer(1500)
    payloads = []
    for piece in frames(samples, lambda piece: piece.astype(np.int16).tobytes()):
        size = lib.opus_encode(encoder, piece, 160, room, ctypes.c_int32(len(room)))
        assert size > 0, f"libopus says {size}"
        payloads.append(room.raw[:size])
    lib.opus_encoder_destroy(encoder)
    return payloads


def g729(samples, pauses=False):
    """G.729 payloads of 20 ms of 8000 Hz, by bcg729; with pauses those of Annex B, b"" where nothing is sent."""
    lib = ctypes.CDLL("libbcg729.so.0")
    lib.initBcg729EncoderChannel.restype = ctypes.c_void_p
    encoder = ctypes.c_void_p(lib.initBcg729EncoderChannel(ctypes.c_uint8(pauses)))
    room, size = ctypes.create_string_buffer(10), ctypes.c_uint8()

    def frame(piece):
        lib.bcg729Encoder(encoder, piece.astype(np.int16).tobytes(), room, ctypes.byref(size))
        return room.raw[: size.value]

    ten_ms = frames(samples, frame, 80)
    lib.closeBcg729EncoderChannel(encoder)
    # RFC 3551 4.5.6: a silence is the last of its packet; what begins anew in the middle of one has no place in it and is left out.
    pairs = [ten_ms[at : at + 2] for at in range(0, len(ten_ms), 2)]
    return [b"".join(pair) if len(pair[0]) == 10 else pair[0] for pair in pairs]


def g722(folder, samples):
    """G.722 payloads of 20 ms of 16000 Hz, by libavcodec."""
    (folder / "said.s16").write_bytes(samples.astype("<i2").tobytes())
    command = ["ffmpeg", "-v", "error", "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", str(folder / "said.s16"), "-f", "g722", "-"]
    found = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    return [found[at : at + 160] for at in range(0, len(found) - 159, 160)]


def from_g729(folder, payloads):
    """Samples of all that was said, by libavcodec, whose decoder is another than bcg729's."""
    (folder / "said.g729").write_bytes(b"".join(payloads))
    found = subprocess.run(["ffmpeg", "-v", "error", "-f", "g729", "-i", str(folder / "said.g729"), "-f", "s16le", "-"], capture_output=True, timeout=60, check=True)
    return np.frombuffer(found.stdout, "<i2")


class Line:
    """One party's RTP port."""

    def __init__(self, address, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.socket.setblocking(False)
        self.sequence, self.timestamp = 1000, 8000
        self.packets, self.marks = [], []
        # How late it was with a packet of its own, at worst.
        self.late_s = 0.0
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)

    def listen(self):
        while True:
            try:
                packet, beside, *_ = self.socket.recvmsg(2048, 64)
                self.packets.append(packet)
                self.marks += [data[0] >> 2 for level, kind, data in beside if (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS)]
            except BlockingIOError:
                return

    def say(self, target, payloads, others=(), payload_type=0, units=160, loss=0.0, seed=1):
        """Sends a payload each 20 ms, less empty ones and those that the dice take; meanwhile this line and others listen."""
        dice = random.Random(seed)
        due = time.monotonic()
        for payload in payloads:
            head = bytes([0x80, payload_type]) + self.sequence.to_bytes(2, "big") + self.timestamp.to_bytes(4, "big") + b"LINE"
            self.late_s = max(self.late_s, time.monotonic() - due)
            if payload and dice.random() >= loss:
                self.socket.sendto(head + payload, target)
            self.sequence, self.timestamp = self.sequence + 1, self.timestamp + units
            due += 0.02
            time.sleep(max(0.0, due - time.monotonic()))
            for line in (self, *others):
                line.listen()

    def event(self, target, code, payload_type=101, steps=5):
        """A digit of RFC 4733, 20 ms a step."""
        for step in range(1, steps + 3):
            duration, end = min(step, steps) * 160, 0x80 if step >= steps else 0
            head = bytes([0x80, payload_type]) + self.sequence.to_bytes(2, "big") + self.timestamp.to_bytes(4, "big") + b"LINE"
            self.socket.sendto(head + bytes([code, end | 10]) + duration.to_bytes(2, "big"), target)
            self.sequence += 1
            time.sleep(0.02)
        self.timestamp += (steps + 5) * 160

    def payloads(self, payload_type=0):
        """Of what came, by sequence: (timestamp, payload)."""
        found = {int.from_bytes(p[2:4], "big"): (int.from_bytes(p[4:8], "big"), p[12:]) for p in self.packets if len(p) > 12 and p[1] & 0x7F == payload_type}
        return [found[sequence] for sequence in sorted(found)]

    def heard(self, payload_type=0, decode=audio.from_ulaw):
        """Samples at their places by RTP time; what did not come is silence."""
        found = self.payloads(payload_type)
        if not found:
            return np.zeros(0, np.int16)
        first = found[0][0]
        pieces = [((timestamp - first) & 0xFFFFFFFF, decode(payload)) for timestamp, payload in found]
        sound = np.zeros(max(at + len(piece) for at, piece in pieces if at < 1 << 24), np.int16)
        for at, piece in pieces:
            if at < 1 << 24:
                sound[at : at + len(piece)] = piece
        return sound

    def close(self):
        self.socket.close()


class Call:
    """acme calls zeta by hand, each with a line; several may share the two SIP ports."""

    def __init__(self, net, near, far, near_body, far_body, ports=(6000, 7000), number="+991"):
        self.near, self.far, self.box = near, far, net.box_carrier
        self.near_line, self.far_line = Line(near.local, ports[0]), Line(far.local, ports[1])
        near.send(near.request("INVITE", f"sip:{number}@{self.box}", ("Content-Type: application/sdp",), near_body), self.box)
        self.offered = far.receive(10)
        assert self.offered and self.offered.startswith("INVITE"), self.offered
        far.send(reply(self.offered, 200, contact=f"sip:far@{far.local}:5060", body=far_body), self.box)
        self.answer = near.final()
        assert self.answer and sip.status(self.answer) == 200, self.answer
        near.send(self.in_dialog("ACK", 1), self.box)
        assert far.receive(5).startswith("ACK")
        self.to_near, self.to_far = media(self.answer), media(self.offered)

    def in_dialog(self, method, cseq, headers=(), body=""):
        return in_dialog(self.near, self.answer, method, cseq, headers, body)

    def end(self):
        self.near.send(self.in_dialog("BYE", 50), self.box)
        self.far.send(reply(self.far.receive(5), 200), self.box)
        assert sip.status(self.near.final()) == 200
        for line in (self.near_line, self.far_line):
            line.close()


def in_dialog(raw, answer, method, cseq, headers=(), body=""):
    """A request of the caller's in the dialog of this answer."""
    contact = re.search(r"<(.*?)>", sip.header(answer, "Contact")).group(1)
    text = raw.request(method, contact, headers, body, cseq=cseq, call_id=sip.header(answer, "Call-ID"))
    text = re.sub(r"(?m)^From: .*?\r$", lambda _: f"From: {sip.header(answer, 'From')}\r", text)
    return re.sub(r"(?m)^To: .*?\r$", lambda _: f"To: {sip.header(answer, 'To')}\r", text)


def media(text):
    """The address of the audio that a message describes."""
    return re.search(r"(?m)^c=IN IP4 (\S+)\r$", text).group(1), int(re.search(r"(?m)^m=audio (\d+)", text).group(1))


def all_at_once(*works):
    """Runs these side by side; an error in one is the caller's."""
    failed = []

    def guarded(work):
        try:
            work()
        except Exception as error:  # handed over below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if failed:
        raise failed[0]
