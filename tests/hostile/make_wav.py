#!/usr/bin/env python3
"""Writes tests/hostile/wav: small WAV files, one oddity or lie each.

The name of a file starts with what a reader must answer: the name of an ErrorCode ("format", "unsupported",
"input") or "well" for odd files that the format allows.

    python3 tests/hostile/make_wav.py
"""

import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "wav"
DATA = struct.pack("<4h", 0, 16384, -16384, 1)


def chunk(name, body, size=None):
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def fmt(tag=1, channels=1, rate=8000, bits=16, frame=None, more=b""):
    frame = channels * bits // 8 if frame is None else frame
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits) + more)


def wav(*chunks, head=b"RIFF", kind=b"WAVE"):
    body = kind + b"".join(chunks)
    return head + struct.pack("<I", len(body)) + body


FILES = {
    "well-16_bits": wav(fmt(), chunk(b"data", DATA)),
    "well-8_bits": wav(fmt(bits=8), chunk(b"data", b"\x80\xff\x00")),
    "well-24_bits_3_channels": wav(fmt(bits=24, channels=3), chunk(b"data", bytes(range(18)))),
    "well-float": wav(fmt(tag=3, bits=32), chunk(b"data", struct.pack("<2f", 0.5, -2.0))),
    "well-double": wav(fmt(tag=3, bits=64), chunk(b"data", struct.pack("<2d", 0.5, -0.25))),
    "well-extensible": wav(fmt(tag=0xFFFE, more=struct.pack("<HHIH", 22, 16, 0, 1) + b"\0" * 14), chunk(b"data", DATA)),
    "well-odd_chunk_before": wav(chunk(b"LIST", b"abc"), fmt(), chunk(b"data", DATA)),
    "well-size_of_a_pipe": wav(fmt(), chunk(b"data", DATA, 0xFFFFFFFF)),
    "well-cut_off": wav(fmt(), chunk(b"data", DATA, 1000))[:-1],
    "format-empty": b"",
    "format-riff_alone": b"RIFF",
    "format-not_wave": wav(fmt(), chunk(b"data", DATA), kind=b"AVI "),
    "format-no_chunks": wav(),
    "format-data_before_fmt": wav(chunk(b"data", DATA), fmt()),
    "format-no_data": wav(fmt()),
    "format-short_fmt": wav(chunk(b"fmt ", b"\1\0\1\0"), chunk(b"data", DATA)),
    "format-no_channels": wav(fmt(channels=0), chunk(b"data", DATA)),
    "format-frame_lies": wav(fmt(frame=7), chunk(b"data", DATA)),
    "unsupported-rf64": wav(fmt(), chunk(b"data", DATA), head=b"RF64"),
    "unsupported-mu_law": wav(fmt(tag=7, bits=8), chunk(b"data", DATA)),
    "unsupported-12_bits": wav(fmt(bits=12), chunk(b"data", DATA)),
    "unsupported-no_bits": wav(fmt(bits=0), chunk(b"data", DATA)),
    "unsupported-rate_0": wav(fmt(rate=0), chunk(b"data", DATA)),
    "unsupported-rate_of_gigahertz": wav(fmt(rate=0xFFFFFFFF), chunk(b"data", DATA)),
    "input-no_samples": wav(fmt(), chunk(b"data", b"")),
    "input-less_than_a_sample": wav(fmt(channels=8), chunk(b"data", DATA)),
    "input-nan": wav(fmt(tag=3, bits=32), chunk(b"data", struct.pack("<f", float("nan")))),
    "input-infinite": wav(fmt(tag=3, bits=64), chunk(b"data", struct.pack("<d", float("inf")))),
    "input-too_large_for_a_float": wav(fmt(tag=3, bits=64), chunk(b"data", struct.pack("<d", 1e300))),
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, body in FILES.items():
        (FOLDER / f"{name}.wav").write_bytes(body)
    print(len(FILES), "files")
