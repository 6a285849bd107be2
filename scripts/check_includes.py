#!/usr/bin/env python3
"""Holds the rooms to their order: a room includes only itself and the rooms that CMakeLists.txt gives it.

check_includes.py [ROOT]   exit status 1 when an include points the wrong way; one line each
"""
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The room that implements each public header.
PUBLIC = {
    "tensor.h": "tensor",
    "error.h": "tensor",
    "threads.h": "tensor",
    "linear.h": "kernels",
    "image.h": "media",
    "media.h": "media",
    "music.h": "media",
    "table.h": "media",
    "scene.h": "formats",
    "sequence.h": "formats",
    "attention.h": "attention",
    "cache.h": "attention",
    "split.h": "attention",
    "safetensors.h": "formats",
    "gguf.h": "formats",
    "sighting.h": "sight",
    "chat_template.h": "tokenizers",
    "tokenizer.h": "tokenizers",
    "audio.h": "media",
    "transcribe.h": "models", "forecast.h": "models",
    "model.h": "models",
    "sampler.h": "models",
    "generate.h": "models",
    "report.h": "report",
    "train.h": "train",
    "headscope.h": "front door",
}
# Who may use every room: nothing may use these.
TOP = ("cli", "front door")

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror".split()


def rooms_of(root):
    """{room: every room it may include, itself too}, from the headscope_room(...) lines."""
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    reach = {}
    for name, rest in re.findall(r"^headscope_room\((\w+)([^)]*)\)", text, re.MULTILINE):
        direct = re.search(r"ROOMS((?:\s+[a-z_]+)+)", rest)
        reach[name] = {name}
        for other in direct.group(1).split() if direct else []:
            if other not in reach:
                sys.exit(f"CMakeLists.txt: room {name} uses {other}, which is not above it")
            reach[name] |= reach[other]
    if not reach:
        sys.exit("CMakeLists.txt: expected headscope_room(...) lines, found none")
    everything = set(reach)
    for name in TOP:
        reach[name] = everything | set(TOP)
    return reach


def room_of_include(path, reach):
    """The room a quoted path belongs to, or None for a system header or a generated one."""
    first, _, rest = path.partition("/")
    if first == "headscope":
        return PUBLIC.get(rest, "unknown")
    return first if rest and first in reach else None


def check(root, reach):
    problems = []
    public = sorted((root / "include/headscope").glob("**/*.h"))
    files = [(path, PUBLIC.get(path.relative_to(root / "include/headscope").as_posix()))
             for path in public]
    for folder in sorted((root / "src").iterdir()):
        sources = [f for f in sorted(folder.rglob("*")) if f.suffix in (".h", ".cpp")]
        if sources and folder.name not in reach:
            problems.append(f"src/{folder.name}: no headscope_room line in CMakeLists.txt")
            continue
        files += [(path, folder.name) for path in sources]
    for path, room in files:
        shown = path.relative_to(root)
        if room is None or room not in reach:
            problems.append(f"{shown}: say in {Path(__file__).name} which room it belongs to")
            continue
        for target in INCLUDE.findall(path.read_text(encoding="utf-8")):
            to = room_of_include(target, reach)
            if ".." in Path(target).parts:
                problems.append(f"{shown}: write {target} from src/ on")
            if to is not None and to not in reach[room]:
                problems.append(f"{shown}: room {room} may not include {target} (room {to})")
    return problems, public, len(files)


def compiles_alone(root, header):
    name = header.relative_to(root / "include").as_posix()
    done = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", *WARNINGS, f"-I{root / 'include'}",
                           "-x", "c++", "-"],
                          input=f'#include "{name}"\n', capture_output=True, text=True)
    return [] if done.returncode == 0 else [f"{name} does not compile alone:\n{done.stderr}"]


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    problems, public, count = check(root, rooms_of(root))
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda header: compiles_alone(root, header), public):
            problems += found
    print("\n".join(problems) or f"{count} files include in the right direction, "
          f"{len(public)} public headers compile alone")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
