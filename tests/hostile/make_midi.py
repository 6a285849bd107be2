#!/usr/bin/env python3
"""Writes tests/hostile/midi: a good file, and files that are damaged in one way each."""
import struct
from pathlib import Path

FOLDER = Path(__file__).parent / "midi"


def chunk(name, body):
    return name + struct.pack(">I", len(body)) + body


def song(track, form=0, tracks=1, division=480):
    return chunk(b"MThd", struct.pack(">HHH", form, tracks, division)) + chunk(b"MTrk", track)


NOTE = b"\x00\x90\x3c\x40\x60\x3c\x00"
END = b"\x00\xff\x2f\x00"
FILES = {
    "good": song(b"\x00\xff\x51\x03\x07\xa1\x20\x00\xff\x58\x04\x03\x02\x18\x08" + NOTE + END),
    "no_track": chunk(b"MThd", struct.pack(">HHH", 0, 0, 480)),
    "header_cut": b"MThd\x00\x00\x00\x06\x00",
    "header_longer_than_file": b"MThd\x7f\xff\xff\xff\x00\x00\x00\x01\x01\xe0",
    "track_longer_than_file": song(NOTE)[:18] + b"\xff\xff\xff\xff" + NOTE,
    "no_ticks": song(NOTE + END, division=0),
    "film_frames": song(NOTE + END, division=0xE250),
    "format_2": song(NOTE + END, form=2),
    "endless_number": song(b"\xff\xff\xff\xff\x7f\x90\x3c\x40"),
    "running_from_nowhere": song(b"\x00\x3c\x40"),
    "data_is_status": song(b"\x00\x90\x90\x40"),
    "meta_past_the_end": song(b"\x00\xff\x51\x7f\x07"),
    "system_past_the_end": song(b"\x00\xf0\x8f\xff\xff\x7f\x01"),
    "undefined_status": song(b"\x00\xf4" + NOTE),
    "cut_in_a_note": song(b"\x00\x90\x3c"),
    "far_away": song(b"\xff\xff\xff\x7f\x90\x3c\x40" * 64 + END),
    "only_drums": song(b"\x00\x99\x24\x40\x60\x24\x00" + END),
    "unknown_chunk": song(b"")[:14] + chunk(b"XFIH", b"\x00" * 5) + chunk(b"MTrk", NOTE + END),
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in FILES.items():
        (FOLDER / f"{name}.mid").write_bytes(data)
