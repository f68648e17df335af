"""Files that would run code, or write outside of their folder, given to the program as a stranger's dictionary or activations. Each payload is
shown to be alive first: Python's own readers run it.

    malice.py SAE WORK        run with the Python of an environment that has numpy
"""

import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy

SAE, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
DICTIONARIES = pathlib.Path(__file__).resolve().parents[2] / "sae" / "tests" / "dictionaries"
MARK = WORK / "code-has-run"
PICKLES = [
    "dictionary_learning/topk/trainer_0/ae.pt",
    "openai/topk/autoencoder.pt",
    "goodfire/Llama-3.1-8B-Instruct-SAE-l19.pth",
    "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer0.sae.pt",
]


class Payload:
    def __reduce__(self):
        return os.system, (f"touch '{MARK}'",)


def ran():
    found = MARK.exists()
    MARK.unlink(missing_ok=True)
    return found


def refused(*words):
    before = sorted(WORK.rglob("*"))
    done = subprocess.run([SAE, *words], cwd=WORK, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2) and "panicked" not in said, f"{words}: {done.returncode} {said}"
    assert not ran(), f"{words}: the code ran"
    assert sorted(WORK.rglob("*")) == before, f"{words}: wrote {set(WORK.rglob('*')) - set(before)}"
    return said


def with_member(file, changed, name, data):
    """A copy of the archive `file` in which the member that ends with `name` is replaced, or a new one of that name added."""
    members = {}
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    found = next((member for member in members if member.endswith(name)), name)
    members[found] = data
    with zipfile.ZipFile(changed, "w") as archive:
        for member, bytes_ in members.items():
            archive.writestr(member, bytes_)


def main():
    code = pickle.dumps({"k": 8, "encoder.weight": Payload()}, protocol=2)
    pickle.loads(code)
    assert ran(), "the payload is dead"
    tried = 0
    for name in PICKLES:
        home = WORK / f"pickle-{tried}"
        shutil.copytree(DICTIONARIES / name.split("/")[0], home)
        file = home / name.split("/", 1)[1]
        original = file.with_suffix(".original")
        file.rename(original)
        # A pickle by itself, as torch.save wrote before 2020, and one in an archive, as it does now.
        for write, words in (
            (lambda: file.write_bytes(code), ["not a whole zip file"]),
            (lambda: with_member(original, file, "data.pkl", code), ["system", "executed"]),
        ):
            write()
            refused("check", file.parent)
            said = refused("check", file)
            assert all(word in said for word in words), f"{name}: {said}"
            tried += 1

    # numpy keeps lists of objects as pickles.
    numpy.save(WORK / "objects.npy", numpy.array([Payload()], dtype=object), allow_pickle=True)
    numpy.load(WORK / "objects.npy", allow_pickle=True)
    assert ran(), "the payload is dead"
    refused("import", "objects.npy", "--out", "imported")

    # A member that would be unpacked next to its folder.
    home = WORK / "npz"
    shutil.copytree(DICTIONARIES / "gemma-scope-2b-pt-res", home)
    file = next(home.rglob("params.npz"))
    original = file.with_suffix(".original")
    file.rename(original)
    with_member(original, file, "../../escaped.npy", b"\x93NUMPY")
    subprocess.run([SAE, "check", file.parent], cwd=WORK, capture_output=True, check=False)
    assert not any(WORK.rglob("escaped*")), "a member left its archive"
    print(f"{tried} pickles, one list of objects and one archive with a way out: nothing ran, nothing was written")


main()
