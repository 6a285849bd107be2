#!/usr/bin/env python3
"""Writes tests/hostile/spm: a small SentencePiece model, and files that are damaged in one way each."""
import struct
from pathlib import Path

FOLDER = Path(__file__).parent / "spm"


def number(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(n, value):
    if isinstance(value, float):
        return number(n << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return number(n << 3) + number(value)
    return number(n << 3 | 2) + number(len(value)) + value


def piece(text, score=0.0, kind=1):
    return field(1, field(1, text.encode() if isinstance(text, str) else text) + field(2, score) + field(3, kind))


def table(*rules):
    """The normaliser's: no tree, only texts; a file that names one is cut short or long by the cases below."""
    return struct.pack("<I", 0) + b"".join(r.encode() + b"\0" for r in rules)


WORDS = ["▁a", "▁king", "▁b", "É", ",", "▁中", "!", "▁", "k", "i", "n", "g"]
PIECES = piece("<unk>", 0.0, 2) + piece("</s>", 0.0, 3) + b"".join(piece(w, -float(i + 1)) for i, w in enumerate(WORDS))
TRAINED = field(2, field(3, 1) + field(24, 0) + field(35, 0))
RULED = field(3, field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1))
FILES = {
    "good": PIECES + TRAINED + RULED,
    "kept_whole": PIECES + piece("king  b", 0.0, 4) + TRAINED + RULED,
    "no_pieces": TRAINED + RULED,
    "no_rules": PIECES + TRAINED,
    "bpe": PIECES + field(2, field(3, 2)) + RULED,
    "bytes": PIECES + field(2, field(3, 1) + field(35, 1)) + RULED,
    "marks_behind": PIECES + field(2, field(3, 1) + field(24, 1)) + RULED,
    "unknown_kind": PIECES + field(2, field(3, 99)) + RULED,
    "empty_piece": PIECES + piece("", -1.0) + TRAINED + RULED,
    "not_utf8": PIECES + piece(b"\xc3", -1.0) + TRAINED + RULED,
    "twice": PIECES + piece("k", -1.0) + TRAINED + RULED,
    "nan": PIECES + piece("q", float("nan")) + TRAINED + RULED,
    "piece_longer_than_file": PIECES + TRAINED + RULED + b"\x0a\xff\xff\xff\xff\x0f",
    "endless_number": PIECES + TRAINED + RULED + b"\xff" * 12,
    "score_is_text": PIECES + field(1, field(1, b"q") + field(2, b"x")) + TRAINED + RULED,
    "table_of_nothing": PIECES + TRAINED + field(3, field(2, b"")),
    "table_without_tree": PIECES + TRAINED + field(3, field(2, table("a"))),
    "table_longer_than_file": PIECES + TRAINED + field(3, field(2, struct.pack("<I", 1 << 30) + b"x")),
}

FOLDER.mkdir(exist_ok=True)
for name, data in FILES.items():
    (FOLDER / f"{name}.spm").write_bytes(data)
print(f"{len(FILES)} files in {FOLDER}")
