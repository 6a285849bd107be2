#!/usr/bin/env python3
"""Writes tests/hostile/safetensors: small files that lie, one lie each.

The name of a file starts with what a reader must answer: the name of an ErrorCode ("format",
"unsupported", ...) or "well" for odd files that the format allows.

    python3 tests/hostile/make_safetensors.py
"""

import json
import pathlib
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "safetensors"


def tensor(dtype, shape, begin, end, **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def pack(header, data=b"", length=None):
    """A file: `header` as text, bytes or an object to be written as JSON; `length` may lie."""
    if isinstance(header, dict):
        header = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


F32 = tensor("F32", [2], 0, 8)
GOOD = {"a": F32, "b": tensor("I16", [2, 2], 8, 16)}
DATA = bytes(range(16))
WHOLE = pack(GOOD, DATA)
PLAIN = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def one(shape, dtype="F32", begin=0, end=8, data=DATA[:8]):
    return pack({"a": tensor(dtype, shape, begin, end)}, data)


def raw(fields, data=DATA[:8]):
    return pack('{"a":{' + fields + "}}", data)


def lengths():
    yield "format-empty", b""
    yield "format-seven_bytes", WHOLE[:7]
    yield "format-length_only", WHOLE[:8]
    yield "format-header_cut", WHOLE[:40]
    yield "format-data_cut", WHOLE[:-1]
    yield "format-data_too_long", WHOLE + b"x"
    yield "format-length_zero", pack(GOOD, DATA, 0)
    yield "format-length_one_less", pack(GOOD, DATA, len(WHOLE) - 25)
    yield "format-length_one_more", pack(GOOD, DATA, len(WHOLE) - 23)
    yield "format-length_past_end", pack(GOOD, DATA, len(WHOLE))
    yield "format-length_over_limit", pack(GOOD, DATA, 100_000_001)
    yield "format-length_huge", pack(GOOD, DATA, 2**63)
    yield "format-length_all_ones", pack(GOOD, DATA, 2**64 - 1)
    yield "format-length_wraps_to_small", pack(GOOD, DATA, 2**64 - 8)
    yield "format-length_big_endian", struct.pack(">Q", len(WHOLE) - 24) + WHOLE[8:]


def texts():
    yield "format-no_brace", pack(" " + json.dumps({}))
    yield "format-array", pack("[]")
    yield "format-text", pack('"a"')
    yield "format-brace_only", pack("{")
    yield "format-second_value", pack("{}{}")
    yield "format-nul_hides_a_tail", pack(b"{}\0" + b'{"a":1}')
    yield "format-nul_padding", pack(b"{}" + b"\0" * 6)
    yield "format-trailing_comma", pack('{"a":' + PLAIN + ",}", DATA[:8])
    yield "format-comment", pack('{/* */"a":' + PLAIN + "}", DATA[:8])
    yield "format-not_utf8", pack(b'{"\xff":' + PLAIN.encode() + b"}", DATA[:8])
    yield "format-overlong_utf8", pack(b'{"\xc0\x80":' + PLAIN.encode() + b"}", DATA[:8])
    yield "format-half_a_surrogate", pack('{"\\ud800":' + PLAIN + "}", DATA[:8])
    yield "format-control_letter", pack(b'{"\n":' + PLAIN.encode() + b"}", DATA[:8])
    yield "format-deep_arrays", pack('{"a":' + "[" * 4000)
    yield "format-deep_objects", pack('{"a":' * 1000)
    yield "format-deep_unknown_field", raw(PLAIN[1:-1] + ',"x":' + "[" * 40 + "]" * 40)
    yield "format-number_too_large", raw(PLAIN[1:-1] + ',"x":1e999')
    yield "well-empty_header", pack("{}")
    yield "well-padded_header", pack("{}" + " " * 22)
    yield "well-white_space", pack('{\n\t"a" : ' + PLAIN + "\r\n}", DATA[:8])
    yield "well-unknown_fields", raw(PLAIN[1:-1] + ',"x":[1,{"y":[null,true,-1.5,"z"]}]')
    yield "well-escaped_name", pack('{"\\u0433\\ud83d\\ude00\\n\\"":' + PLAIN + "}", DATA[:8])


def keys():
    yield "format-same_name_twice", pack('{"a":' + PLAIN + ',"a":' + PLAIN + "}", DATA[:8])
    yield "format-same_name_escaped", pack('{"a":' + PLAIN + ',"\\u0061":' + PLAIN + "}", DATA[:8])
    yield "format-dtype_twice", raw(PLAIN[1:-1] + ',"dtype":"F32"')
    yield "format-offsets_twice", raw(PLAIN[1:-1] + ',"data_offsets":[0,8]')
    yield "format-no_dtype", raw('"shape":[2],"data_offsets":[0,8]')
    yield "format-no_shape", raw('"dtype":"F32","data_offsets":[0,8]')
    yield "format-no_offsets", raw('"dtype":"F32","shape":[2]')
    yield "format-null_shape", raw('"dtype":"F32","shape":null,"data_offsets":[0,8]')
    yield "format-tensor_is_number", pack('{"a":1}')
    yield "format-tensor_is_array", pack('{"a":[1,2]}')
    yield "format-tensor_is_null", pack('{"a":null}')
    yield "format-tensor_is_empty", pack('{"a":{}}')
    yield "format-metadata_number", pack('{"__metadata__":{"a":1}}')
    yield "format-metadata_object", pack('{"__metadata__":{"a":{}}}')
    yield "format-metadata_null", pack('{"__metadata__":{"a":null}}')
    yield "format-metadata_array", pack('{"__metadata__":[]}')
    yield "format-metadata_text", pack('{"__metadata__":"a"}')
    yield "format-metadata_key_twice", pack('{"__metadata__":{"a":"1","a":"2"}}')
    yield "format-metadata_twice", pack('{"__metadata__":{},"__metadata__":{}}')
    yield "well-metadata", pack({"__metadata__": {"": "", "a": "дом"}, "a": F32}, DATA[:8])


def tensors():
    yield "format-dtype_unknown", one([2], dtype="F31")
    yield "format-dtype_lower_case", one([2], dtype="f32")
    yield "format-dtype_number", one([2], dtype=32)
    yield "unsupported-dtype_f4", one([16], dtype="F4")
    yield "unsupported-dtype_c64", one([1], dtype="C64")
    yield "format-shape_negative", one([-2])
    yield "format-shape_minus_one_twice", one([-1, -2])
    yield "format-shape_float", one([2.0])
    yield "format-shape_text", one(["2"])
    yield "format-shape_nested", one([[2]])
    yield "format-shape_object", one({"0": 2})
    yield "format-shape_number", one(2)
    yield "format-shape_too_small", one([1])
    yield "format-shape_too_large", one([3])
    yield "format-shape_wraps_64", one([2**32, 2**32, 2])
    yield "format-shape_wraps_63", one([2**62, 2])
    yield "format-shape_past_63", one([2**63])
    yield "format-shape_past_64", one([2**64])
    yield "format-shape_bytes_wrap", one([2**62 + 2])
    yield "format-shape_zero_hides_wrap", one([2**62, 2**62, 0], end=0, data=b"")
    yield "format-shape_65_axes", one([1] * 64 + [2])
    yield "format-shape_long", one([1] * 5000)
    yield "format-bool_two", one([8], dtype="BOOL")
    yield "well-shape_64_axes", one([1] * 63 + [2])
    yield "well-scalar", one([], dtype="F64")
    yield "well-zero_sized", one([0, 7], end=0, data=b"")
    yield "well-bool", one([2], dtype="BOOL", end=2, data=b"\1\0")


def offsets():
    yield "format-offsets_reversed", one([2], begin=8, end=0)
    yield "format-offsets_past_end", one([2], begin=8, end=16)
    yield "format-offsets_negative", one([2], begin=-8, end=0)
    yield "format-offsets_huge", one([2], begin=2**64 - 8, end=2**64)
    yield "format-offsets_wrap", one([2], begin=2**64 - 4, end=4)
    yield "format-offsets_float", one([2], begin=0.0, end=8.0)
    yield "format-offsets_one", raw('"dtype":"F32","shape":[2],"data_offsets":[8]')
    yield "format-offsets_three", raw('"dtype":"F32","shape":[2],"data_offsets":[0,8,8]')
    yield "format-offsets_text", raw('"dtype":"F32","shape":[2],"data_offsets":"0,8"')
    yield "format-hole_at_start", one([2], begin=4, end=12, data=DATA[:12])
    yield "format-hole_between", pack({"a": F32, "b": tensor("F32", [1], 12, 16)}, DATA)
    yield "format-hole_at_end", one([2], data=DATA)
    yield "format-data_without_tensors", pack("{}", DATA)
    yield "format-overlap", pack({"a": F32, "b": tensor("F32", [2], 4, 12)}, DATA[:12])
    yield "format-same_bytes", pack({"a": F32, "b": F32}, DATA[:8])
    yield "format-zero_sized_inside", pack({"a": F32, "b": tensor("F32", [0], 4, 4)}, DATA[:8])
    yield "format-zero_sized_past_end", pack({"a": F32, "b": tensor("F32", [0], 9, 9)}, DATA[:8])
    yield "well-any_order", pack({"b": tensor("I16", [2, 2], 8, 16), "a": F32}, DATA)
    yield "well-zero_sized_between", pack(
        {"b": tensor("I16", [2, 2], 8, 16), "z": tensor("F64", [0], 8, 8), "a": F32}, DATA
    )
    yield "well-unaligned", pack(
        {"a": tensor("U8", [1], 0, 1), "b": tensor("F64", [1], 1, 9)}, DATA[:9]
    )


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.safetensors"):
        old.unlink()
    for group in (lengths, texts, keys, tensors, offsets):
        for name, content in group():
            path = FOLDER / f"{name}.safetensors"
            if path.exists():
                raise SystemExit(f"two files named {name}")
            path.write_bytes(content)


if __name__ == "__main__":
    main()
