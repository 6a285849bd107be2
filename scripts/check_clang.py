#!/usr/bin/env python3
"""Reads by clang, for its warnings alone, what a build folder has not compiled yet.

check_clang.py FOLDER   a folder that CMake set up for clang; exit status 1 when a source has a warning or an error
"""
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READ = ("src", "bench", "examples")


def commands(folder):
    """(source, command, folder of the command) of each source of READ that has no object yet."""
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        source = Path(entry["file"])
        if not source.is_relative_to(ROOT) or source.relative_to(ROOT).parts[0] not in READ:
            continue
        words = shlex.split(entry["command"])
        place = words.index("-o")
        if not (Path(entry["directory"]) / words[place + 1]).exists():
            yield source, [*words[:place], *words[place + 2 :], "-fsyntax-only"], entry["directory"]


def read(job):
    source, command, folder = job
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if found.returncode == 0 and not found.stderr:
        return True
    print(f"{source.relative_to(ROOT)}\n{found.stderr}", flush=True)
    return False


def main():
    jobs = list(commands(Path(sys.argv[1])))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        good = list(pool.map(read, jobs))
    print(f"{len(good)} sources read, {len(good) - sum(good)} with warnings or errors")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
