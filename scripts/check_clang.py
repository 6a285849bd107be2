#!/usr/bin/env python3
"""Reads by clang, for its warnings alone, the sources that some targets of a build do not compile.

check_clang.py FOLDER TARGET...   a folder that CMake set up for clang and Ninja, and the targets that are built in it;
                                  exit status 1 when a source has a warning or an error
"""
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READ = ("src", "models", "bench", "examples")


def commands(folder, targets):
    """(source, command, folder of the command) of each source of READ whose object no target needs."""
    asked = ["ninja", "-C", folder, "-t", "commands", *targets]
    built = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    made = set(re.findall(r" -o (\S+\.o) ", built))
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        source = Path(entry["file"])
        if not source.is_relative_to(ROOT) or source.relative_to(ROOT).parts[0] not in READ:
            continue
        words = shlex.split(entry["command"])
        place = words.index("-o")
        if words[place + 1] not in made:
            yield source, [*words[:place], *words[place + 2 :], "-fsyntax-only"], entry["directory"]


def read(job):
    source, command, folder = job
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if found.returncode == 0 and not found.stderr:
        return True
    print(f"{source.relative_to(ROOT)}\n{found.stderr}", flush=True)
    return False


def main():
    jobs = list(commands(Path(sys.argv[1]), sys.argv[2:]))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        good = list(pool.map(read, jobs))
    print(f"{len(good)} sources read, {len(good) - sum(good)} with warnings or errors")
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
