#!/usr/bin/env python3
"""Writes pillow_bytes.inc: what Pillow makes of a small picture, for image_test.cpp.   (Debian: python3-pil)"""
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 17, 13
CASES = [("Nearest", 0, 5, 7), ("Lanczos", 1, 6, 9), ("Lanczos", 1, 15, 5), ("Bilinear", 2, 8, 5), ("Bilinear", 2, 13, 20),
         ("Bicubic", 3, 5, 8), ("Bicubic", 3, 15, 18), ("Box", 4, 6, 6), ("Hamming", 5, 7, 9)]

picture = Image.new("RGB", (WIDTH, HEIGHT))
picture.putdata([tuple((y * 37 + x * 59 + c * 83 + x * y % 23 * 11) % 256 for c in range(3))
                 for y in range(HEIGHT) for x in range(WIDTH)])
lines = ["// Made by make_pillow_bytes.py."]
for name, code, height, width in CASES:
    data = picture.resize((width, height), resample=code).tobytes()
    lines.append(f"{{ImageRules::Filter::k{name}, {height}, {width}, {{")
    numbers = [f"{b}," for b in data]
    lines += [" ".join(numbers[i:i + 24]) for i in range(0, len(numbers), 24)]
    lines.append("}},")
Path(__file__).with_name("pillow_bytes.inc").write_text("\n".join(lines) + "\n")
