#!/usr/bin/env python3
"""Runs what the README promises: compiles and runs its ```cpp blocks, runs its ```sh blocks line by line.

check_readme.py [FILE.md...]   needs build/release (./test); exit status 1 when a block fails.
A block after the comment <!-- not run: reason --> is left out, and counted. Lines run in a scratch folder
that looks like the repository's root, so that what they write goes away; build/release is in PATH.
"""
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"
SECONDS = 120
BLOCK = re.compile(r"(?:<!--\s*not run:\s*(?P<reason>(?:(?!-->).)*?)\s*-->\s*\n+)?"
                   r"^```(?P<language>cpp|sh)[^\n]*\n(?P<text>.*?)^```\s*$", re.DOTALL | re.MULTILINE)


def scratch_root(folder):
    """A folder with a link to everything at the root, except what a run would write there."""
    for path in ROOT.iterdir():
        if path.suffix not in (".html", ".sight") and path.name != ".git":
            (folder / path.name).symlink_to(path)


def flags():
    """(compile, link) flags of the program headscope, read from the build itself."""
    entries = json.loads((BUILD / "compile_commands.json").read_text(encoding="utf-8"))
    words = shlex.split(next(e["command"] for e in entries if "/src/cli/" in e["file"]))
    compile_flags = []
    before = ""
    for word in words:
        if before == "-isystem" or re.match(r"-[DIOWf]|-std=|-isystem", word):
            compile_flags.append(word)
        before = word
    commands = subprocess.run(["ninja", "-C", BUILD, "-t", "commands", "headscope"],
                              capture_output=True, text=True, check=True).stdout
    link = next(line for line in reversed(commands.splitlines()) if "-o headscope" in line)
    is_library = re.compile(r".*\.(a|so)(\.[\d.]+)?$|-l|-L|-Wl,")
    return compile_flags, [w for w in shlex.split(link) if is_library.match(w)] + ["-fopenmp"]


def program(text):
    """The snippet as a whole program: with its includes first and inside main() when it has none."""
    if re.search(r"\bint\s+main\s*\(", text):
        return text
    lines = text.splitlines()
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    return "\n".join(includes + ["int main() {"] + body + ["}", ""])


def run_cpp(text, folder):
    compile_flags, libraries = flags()
    source = folder / "snippet.cpp"
    source.write_text(program(text), encoding="utf-8")
    command = ["g++", *compile_flags, "-Wno-error", str(source), "-o", str(folder / "snippet"), *libraries]
    return run(command, BUILD) or run([str(folder / "snippet")], folder)


def run_sh(text, folder):
    """Line by line in one shell, to the first line that fails."""
    lines = "\n".join(re.sub(r"^\$ ", "", line) for line in text.splitlines())
    return run(["bash", "-e", "-u", "-x", "-c", lines], folder)


def run(command, folder):
    """None, or what went wrong."""
    path = f"{BUILD}:{os.environ['PATH']}"
    try:
        done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path, "HEADSCOPE_MODELS": str(BUILD / "models")},
                              text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=SECONDS, errors="replace")
    except subprocess.TimeoutExpired:
        return f"still running after {SECONDS} s"
    if done.returncode == 0:
        return None
    return f"exit status {done.returncode}\n" + "\n".join(done.stdout.splitlines()[-20:])


def check(document):
    text = document.read_text(encoding="utf-8")
    ran = left_out = failed = 0
    for block in BLOCK.finditer(text):
        if block["reason"]:
            left_out += 1
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scratch_root(folder)
            problem = (run_cpp if block["language"] == "cpp" else run_sh)(block["text"], folder)
        ran += 1
        if problem:
            failed += 1
            line = text.count("\n", 0, block.start("text"))
            print(f"{document.name}:{line}: this {block['language']} block fails: {problem}")
    print(f"{document.name}: {ran} blocks ran, {failed} failed, {left_out} are marked as not run")
    return failed > 0 or ran == 0


def main():
    documents = [Path(name) for name in sys.argv[1:]]
    documents = documents or [f for f in (ROOT / "README.md", ROOT / "README.ru.md") if f.exists()]
    if not documents:
        print("no README.md yet")
        return 77
    if not (BUILD / "headscope").exists():
        sys.exit("build/release/headscope is missing: run ./test first")
    return int(any([check(document) for document in documents]))


if __name__ == "__main__":
    sys.exit(main())
