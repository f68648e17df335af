"""Runs every Python snippet of a page: snippets.py PAGE.md FOLDER, in FOLDER, in order, as one program.

A snippet that imports a package of NEEDS_TORCH is skipped, with a line that says so, where torch is missing.
"""

import importlib.util
import os
import pathlib
import re
import sys

NEEDS_TORCH = ("torch", "sae_lens", "transformer_lens", "dictionary_learning")


def main():
    page = pathlib.Path(sys.argv[1])
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    if not found:
        sys.exit(f"{page} has no snippets")
    os.chdir(sys.argv[2])
    names, skipped = {}, 0
    for i, snippet in enumerate(found, 1):
        missing = [name for name in NEEDS_TORCH if re.search(rf"^\s*(import|from) {name}\b", snippet, re.M)
                   and importlib.util.find_spec(name) is None]
        if missing:
            skipped += 1
            print(f"SKIPPED: snippet {i} of {page.name} needs {', '.join(missing)}")
            continue
        exec(compile(snippet, f"{page.name}, snippet {i}", "exec"), names)
    print(f"{page.name}: {len(found) - skipped} snippets ran, {skipped} skipped")


if __name__ == "__main__":
    main()
