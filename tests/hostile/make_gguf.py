#!/usr/bin/env python3
"""Writes tests/hostile/gguf: small files that lie, one lie each.

The name of a file starts with what a reader must answer: the name of an ErrorCode ("format",
"unsupported", "resources") or "well" for odd files that the format allows. Among them are the shapes of the flaws that
were published for other readers: CVE-2024-21802, -21825, -21836, -23496, -23605 (counts, lengths and dimensions that wrap a
size before memory is asked for), CVE-2024-32878 (a key read before it was set), CVE-2025-49847 (a length narrowed to
32 bits), CVE-2025-53630 and its successors (offsets and padded sizes whose sum wraps), and CVE-2026-7482 (a tensor larger
than the file).

    python3 tests/hostile/make_gguf.py
"""

import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "gguf"

U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def number(kind, value, order="<"):
    return struct.pack(order + PACK[kind], value)


def text(value, length=None):
    value = value.encode() if isinstance(value, str) else value
    return number(U64, len(value) if length is None else length) + value


def array(kind, items, length=None):
    """An array of packed items."""
    return number(U32, kind) + number(U64, len(items) if length is None else length) + b"".join(items)


def key(name, kind, value):
    packed = value if isinstance(value, bytes) else text(value) if kind == TEXT else number(kind, value)
    return (name if isinstance(name, bytes) else text(name)) + number(U32, kind) + packed


def tensor(name="a", shape=(8,), kind=0, offset=0, rank=None):
    axes = b"".join(number(U64, axis) for axis in shape)
    return ((name if isinstance(name, bytes) else text(name)) + number(U32, len(shape) if rank is None else rank) + axes
            + number(U32, kind) + number(U64, offset))


def pack(keys=(), tensors=(), data=b"", version=3, n_tensors=None, n_keys=None, magic=b"GGUF", alignment=32):
    """A file; the counts may lie."""
    head = magic + number(U32, version)
    head += number(U64, len(tensors) if n_tensors is None else n_tensors)
    head += number(U64, len(keys) if n_keys is None else n_keys)
    head += b"".join(keys) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) * bool(tensors) + data


ARCH = key("general.architecture", TEXT, "llama")
DATA = bytes(range(32))
ONE = pack([ARCH], [tensor()], DATA)
HUGE = (2**31, 2**32 - 1, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 1)


def starts():
    yield "format-empty", b""
    yield "format-three_bytes", b"GGU"
    yield "format-magic_only", b"GGUF"
    yield "format-magic_other", pack([ARCH], magic=b"GGML")
    yield "format-magic_reversed", pack([ARCH], magic=b"FUGG")
    yield "format-text", b"this is no model at all, but long enough"
    yield "unsupported-version_0", pack([ARCH], version=0)
    yield "unsupported-version_1", pack([ARCH], version=1)
    yield "unsupported-version_4", pack([ARCH], version=4)
    yield "unsupported-version_huge", pack([ARCH], version=2**32 - 1)
    big = ">"
    yield "unsupported-big_endian", (b"GGUF" + number(U32, 3, big) + number(U64, 0, big) + number(U64, 1, big)
                                     + number(U64, 1, big) + b"k" + number(U32, U8, big) + b"\1")
    yield "format-counts_cut", ONE[:20]
    yield "well-version_2", pack([ARCH], [tensor()], DATA, version=2)
    yield "well-nothing_inside", pack()
    yield "well-no_tensors", pack([ARCH])
    yield "well-no_keys", pack([], [tensor()], DATA)
    yield "well-one", ONE


def counts():
    for n in HUGE:
        yield f"format-n_tensors_{n:x}", pack([ARCH], [tensor()], DATA, n_tensors=n)
        yield f"format-n_keys_{n:x}", pack([ARCH], [tensor()], DATA, n_keys=n)
    yield "format-one_tensor_more", pack([ARCH], [tensor()], DATA, n_tensors=2)
    yield "format-one_tensor_less", pack([ARCH], [tensor(), tensor("b", (8,), 0, 2**40)], DATA, n_keys=2)
    yield "format-one_key_more", pack([ARCH], [tensor()], DATA, n_keys=2)


def keys():
    for n in HUGE:
        yield f"format-key_length_{n:x}", pack([text("k", n) + number(U32, U8) + b"\1"])
        yield f"format-text_length_{n:x}", pack([text("k") + number(U32, TEXT) + text("v", n)])
        yield f"format-array_length_{n:x}", pack([key("k", ARRAY, array(U32, [number(U32, 1)], n))])
        yield f"format-texts_length_{n:x}", pack([key("k", ARRAY, array(TEXT, [text("v")], n))])
        yield f"format-bytes_length_{n:x}", pack([key("k", ARRAY, array(U8, [b"v"], n))])
        yield f"format-arrays_length_{n:x}", pack([key("k", ARRAY, array(ARRAY, [array(U8, [])], n))])
    yield "format-text_longer_by_one", pack([text("k") + number(U32, TEXT) + text("v", 2)])
    yield "format-key_empty", pack([key("", U8, 1)])
    yield "format-key_of_newlines", pack([key("a\nb", U8, 1)])
    yield "format-key_with_nul", pack([key("a\0b", U8, 1)])
    yield "format-key_of_5000_letters", pack([key("k" * 5000, U8, 1)])
    yield "format-key_twice", pack([ARCH, ARCH])
    yield "format-key_twice_other_type", pack([ARCH, key("general.architecture", U32, 7)])
    yield "format-type_13", pack([key("k", 13, b"\0" * 16)])
    yield "format-type_all_ones", pack([key("k", 2**32 - 1, b"\0" * 16)])
    yield "format-array_type_13", pack([key("k", ARRAY, number(U32, 13) + number(U64, 1) + b"\0" * 8)])
    yield "format-array_type_negative", pack([key("k", ARRAY, number(U32, 2**32 - 1) + number(U64, 1) + b"\0" * 8)])
    yield "format-bool_two", pack([key("k", BOOL, 2)])
    yield "format-bool_255_in_array", pack([key("k", ARRAY, array(BOOL, [b"\1", b"\xff"]))])
    nested = array(U8, [b"\1"])
    for depth in range(2, 40):
        nested = array(ARRAY, [nested])
        if depth == 4:
            yield "well-arrays_four_deep", pack([key("k", ARRAY, nested)])
        if depth in (5, 39):
            yield f"format-arrays_{depth}_deep", pack([key("k", ARRAY, nested)])
    yield "format-arrays_without_end", pack([key("k", ARRAY, (number(U32, ARRAY) + number(U64, 1)) * 3000)])
    yield "well-every_type", pack([key(f"k{kind}", kind, 1) for kind in PACK] + [key("t", TEXT, "v")])
    yield "well-every_array", pack([key(f"k{kind}", ARRAY, array(kind, [number(kind, 1)] * 3)) for kind in PACK])
    yield "well-empty_arrays", pack([key(f"k{kind}", ARRAY, array(kind, [])) for kind in (U8, F32, TEXT, ARRAY, BOOL)])
    yield "well-text_not_utf8", pack([key("k", TEXT, text(b"\xff\0\xfe"))])
    yield "well-float_nan", pack([key("k", F32, float("nan")), key("j", F64, float("inf"))])
    yield "well-empty_text", pack([key("k", TEXT, "")])


def alignments():
    for value in (0, 1, 2, 4, 3, 24, 33, 2**21, 2**31, 2**32 - 1):
        yield f"format-alignment_{value}", pack([key("general.alignment", U32, value)], [tensor()], DATA)
    yield "format-alignment_signed", pack([key("general.alignment", I32, -32)], [tensor()], DATA)
    yield "format-alignment_text", pack([key("general.alignment", TEXT, "32")], [tensor()], DATA)
    yield "format-alignment_float", pack([key("general.alignment", F32, 32.0)], [tensor()], DATA)
    yield "format-alignment_array", pack([key("general.alignment", ARRAY, array(U32, [number(U32, 32)]))], [tensor()], DATA)
    yield "format-alignment_64_bits", pack([key("general.alignment", U64, 2**63)], [tensor()], DATA)
    yield "format-alignment_moves_data_past_end", pack([key("general.alignment", U32, 4096)], [tensor()], DATA)
    for value in (8, 64, 1024):
        yield f"well-alignment_{value}", pack([key("general.alignment", U32, value)], [tensor()], DATA, alignment=value)


def names():
    for n in HUGE:
        yield f"format-name_length_{n:x}", pack([ARCH], [tensor(text("a", n))], DATA)
    yield "format-name_empty", pack([ARCH], [tensor("")], DATA)
    yield "format-name_with_escape", pack([ARCH], [tensor("\x1b[2J")], DATA)
    yield "format-name_twice", pack([ARCH], [tensor(), tensor("a", (8,), 0, 32)], DATA * 2)
    yield "well-name_of_200_letters", pack([ARCH], [tensor("a" * 200)], DATA)


def shapes():
    yield "format-axis_zero", pack([ARCH], [tensor(shape=(0,))], DATA)
    yield "format-axis_zero_hides_wrap", pack([ARCH], [tensor(shape=(2**40, 2**40, 0))], DATA)
    for n in HUGE:
        yield f"format-axis_{n:x}", pack([ARCH], [tensor(shape=(n,))], DATA)
        yield f"format-axes_{n:x}_by_2", pack([ARCH], [tensor(shape=(n, 2))], DATA)
    yield "format-axes_wrap_to_8", pack([ARCH], [tensor(shape=(2**32, 2**32, 1, 8))], DATA)
    yield "format-axes_wrap_in_bytes", pack([ARCH], [tensor(shape=(2**31, 2**31))], DATA)
    yield "format-axes_wrap_to_one_row", pack([ARCH], [tensor(shape=(8, 2**42 + 1, 2**19))], DATA)
    yield "format-size_wraps_when_padded", pack([ARCH], [tensor(shape=(2**62 - 1,))], DATA)
    yield "format-larger_than_file", pack([ARCH], [tensor(shape=(8, 1000))], DATA)
    yield "format-larger_by_one", pack([ARCH], [tensor(shape=(9,))], DATA)
    yield "format-five_axes", pack([ARCH], [tensor(shape=(8, 1, 1, 1, 1))], DATA)
    yield "format-rank_all_ones", pack([ARCH], [tensor(rank=2**32 - 1)], DATA)
    yield "format-row_of_half_a_block", pack([ARCH], [tensor(shape=(16,), kind=8)], DATA)
    yield "format-blocks_across_rows", pack([ARCH], [tensor(shape=(16, 2), kind=8)], DATA + b"\0\0")
    yield "format-blocks_wrap", pack([ARCH], [tensor(shape=(256, 2**55), kind=12)], DATA)
    yield "format-data_cut", ONE[:-1]
    yield "format-data_absent", ONE[:-32]
    yield "well-scalar", pack([ARCH], [tensor(shape=())], DATA)
    yield "well-four_axes", pack([ARCH], [tensor(shape=(2, 2, 2, 1))], DATA)
    yield "well-one_block", pack([ARCH], [tensor(shape=(32,), kind=8)], DATA + b"\0\0")


def types():
    for kind in (4, 5, 9, 15, 31, 36, 41):
        yield f"unsupported-type_{kind}", pack([ARCH], [tensor(kind=kind)], DATA)
    for kind in (42, 1000, 2**31, 2**32 - 1):
        yield f"format-type_of_tensor_{kind}", pack([ARCH], [tensor(kind=kind)], DATA)


def offsets():
    for offset in (32, 2**32, 2**62, 2**63 - 32, 2**63, 2**64 - 32):
        yield f"format-offset_{offset:x}", pack([ARCH], [tensor(offset=offset)], DATA)
    yield "format-offset_odd", pack([ARCH], [tensor(offset=1)], DATA * 2)
    yield "format-offset_aligned_to_16", pack([ARCH], [tensor(offset=16)], DATA * 2)
    yield "format-overlap", pack([ARCH], [tensor(shape=(16,)), tensor("b", offset=32)], DATA * 2)
    yield "format-same_bytes", pack([ARCH], [tensor(), tensor("b")], DATA)
    yield "format-second_past_end", pack([ARCH], [tensor(), tensor("b", offset=32)], DATA)
    yield "format-offset_and_size_wrap", pack([ARCH], [tensor(shape=(2**61,), offset=2**63)], DATA)
    yield "well-any_order", pack([ARCH], [tensor("b", offset=32), tensor()], DATA * 2)
    yield "well-hole", pack([ARCH], [tensor(), tensor("b", offset=64)], DATA * 3)
    yield "well-tail", pack([ARCH], [tensor()], DATA * 2)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.gguf"):
        old.unlink()
    for group in (starts, counts, keys, alignments, names, shapes, types, offsets):
        for name, content in group():
            path = FOLDER / f"{name}.gguf"
            if path.exists():
                raise SystemExit(f"two files named {name}")
            path.write_bytes(content)


if __name__ == "__main__":
    main()
