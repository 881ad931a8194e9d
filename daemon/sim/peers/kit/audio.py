"""Sounds that can be told apart, and the proof that one arrived.

A melody is a seeded row of tone pairs, no two alike near each other, so a piece of a few hundred milliseconds fits at one
place of one melody only. What was received is cut into windows; each must be found in what was sent, in order.
"""

import wave
from dataclasses import dataclass

import numpy as np

RATE = 8000
WINDOW = 2400  # 300 ms
NOTE = 800  # 100 ms


def melody(seed, seconds):
    """16-bit samples at 8 kHz. Different seeds sound different; the same seed is the same melody."""
    random = np.random.default_rng(seed)
    notes = []
    phase = np.zeros(2)
    for _ in range(int(seconds * RATE / NOTE)):
        pitch = random.uniform(300, 3000, 2)
        t = np.arange(NOTE) / RATE
        notes.append(np.sin(2 * np.pi * pitch[0] * t + phase[0]) + np.sin(2 * np.pi * pitch[1] * t + phase[1]))
        phase = random.uniform(0, 2 * np.pi, 2)
    return (np.concatenate(notes) * 6000).astype(np.int16)


def to_ulaw(samples):
    """G.711 mu-law, by the segments of the recommendation."""
    x = samples.astype(np.int32)
    sign = np.where(x < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(x), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()


def from_ulaw(data):
    u = ~np.frombuffer(data, np.uint8).astype(np.int32) & 0xFF
    magnitude = (((u & 0x0F) << 3) + 132 << ((u >> 4) & 7)) - 132
    return np.where(u & 0x80, -magnitude, magnitude).astype(np.int16)


def from_alaw(data):
    a = np.frombuffer(data, np.uint8).astype(np.int32) ^ 0x55
    exponent = (a >> 4) & 7
    mantissa = (a & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 264) << np.maximum(exponent - 1, 0))
    return np.where(a & 0x80, magnitude, -magnitude).astype(np.int16)


def to_alaw(samples):
    """G.711 A-law: the nearest of the 256 values that it can say."""
    table = from_alaw(bytes(range(256))).astype(np.int32)
    order = np.argsort(table)
    edges = (table[order][1:] + table[order][:-1]) / 2
    return order[np.searchsorted(edges, samples)].astype(np.uint8).tobytes()


def write_wav(path, samples):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.astype("<i2").tobytes())


def read_wav(path):
    with wave.open(str(path), "rb") as source:
        frames = source.readframes(source.getnframes())
        if source.getsampwidth() != 2 or source.getnchannels() != 1 or source.getframerate() != RATE:
            raise ValueError(f"{path}: want 16-bit mono at {RATE} Hz")
    return np.frombuffer(frames, "<i2")


@dataclass
class Match:
    """How much of what was received is what was sent."""

    windows: int  # windows of 300 ms that were not silent
    found: int  # of these, found in what was sent
    in_order: int  # of these, at the place where the one before left off

    @property
    def share(self):
        return self.in_order / self.windows if self.windows else 0.0

    @property
    def seconds(self):
        return self.found * WINDOW / RATE

    def __str__(self):
        return f"{self.seconds:.1f} s of {self.windows * WINDOW / RATE:.1f} s recognised, {100 * self.share:.0f} % in order"


def compare(received, sent, threshold=0.9):
    """Looks up each window of `received` in `sent`, which may have been played in a loop."""
    received = received.astype(np.float64)
    looped = np.concatenate([sent, sent[:WINDOW]]).astype(np.float64)
    energy = np.concatenate([[0.0], np.cumsum(looped**2)])
    norms = np.sqrt(np.maximum(energy[WINDOW:] - energy[:-WINDOW], 1.0))
    size = 1 << int(np.ceil(np.log2(len(looped) + WINDOW)))
    spectrum = np.fft.rfft(looped, size)
    windows = found = in_order = 0
    expected = None
    for start in range(0, len(received) - WINDOW + 1, WINDOW):
        piece = received[start : start + WINDOW]
        norm = np.linalg.norm(piece)
        if norm < 200 * np.sqrt(WINDOW):  # silence, or the edge of it
            expected = None
            continue
        windows += 1
        correlation = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, size)), size)[: len(norms)] / (norms * norm)
        best = int(np.argmax(correlation))
        if correlation[best] < threshold:
            expected = None
            continue
        found += 1
        # Lost or doubled packets shift a place by 20 ms each; a wrong order shifts it by more.
        step = None if expected is None else (best - expected + len(sent) // 2) % len(sent) - len(sent) // 2
        in_order += step is None or abs(step) <= 5 * 160
        expected = best + WINDOW
    return Match(windows, found, in_order)
