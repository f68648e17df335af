"""Every golden dictionary of the other programs goes through `sae` into every format that takes it, and the format's own class loads it:
peers_formats.py SAE DICTIONARIES WORK. Needs torch, see peers.sh.

Features and outputs must be those that the dictionary's own program computed (`expected.json`), so nothing of ours is the judge.
Prints one line for each format, and ends with 1 if anything differs.
"""

import collections
import importlib.metadata
import json
import pathlib
import shutil
import subprocess
import sys

import torch

from peers import dictionary_learning, saelens, sparsify


def saelens_transcoder(folder, x):
    from sae_lens import Transcoder, SkipTranscoder, JumpReLUTranscoder, JumpReLUSkipTranscoder

    name = json.loads((folder / "cfg.json").read_text())["architecture"]
    classes = {"transcoder": Transcoder, "skip_transcoder": SkipTranscoder, "jumprelu_transcoder": JumpReLUTranscoder,
               "jumprelu_skip_transcoder": JumpReLUSkipTranscoder}
    # SAELens has no transcoders that keep the k best.
    if name not in classes:
        return None
    one = classes[name].load_from_disk(str(folder), device="cpu")
    return one.encode(x), one(x)


def circuit_tracer(folder, x):
    from circuit_tracer.transcoder.single_layer_transcoder import load_relu_transcoder

    (file,) = folder.glob("layer_*.safetensors")
    one = load_relu_transcoder(str(file), 0, device=torch.device("cpu"), lazy_encoder=False, lazy_decoder=False)
    return one.encode(x), one(x)


READERS = {
    "saelens": ("sae-lens", saelens), "sparsify": ("eai-sparsify", sparsify),
    "dictionary-learning": ("dictionary-learning", dictionary_learning), "circuit-tracer": ("circuit-tracer", circuit_tracer),
}


def opened(folder):
    """What is opened: the folder, or its one file of a format whose dictionaries are single files."""
    singles = [file for file in folder.iterdir() if file.suffix in (".pt", ".pth") and file.name != "ae.pt"]
    return singles[0] if singles else folder


def main():
    program, root, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    run = lambda *args: subprocess.run([program, *map(str, args), "--quiet"], capture_output=True, text=True)
    seen, worst, failed = collections.Counter(), collections.defaultdict(float), False
    for number, expected in enumerate(sorted(root.rglob("expected.json"))):
        golden = json.loads(expected.read_text())
        if not isinstance(golden.get("x"), list) or not isinstance(golden.get("features"), list):
            continue
        source, made = expected.parent, work / f"run-{number}"
        if "k_used_here" in golden:
            # Its name says how many features a token keeps, and the golden one is too small for that many.
            source = work / source.name.replace(f"_{golden['k_in_repo_name']}", f"_{golden['k_used_here']}")
            shutil.copytree(expected.parent, source)
        imported = run("import", "dictionary", opened(source), "--out", made)
        if imported.returncode:
            print(f"not imported: {expected.parent.relative_to(root)}: {imported.stderr.strip().splitlines()[-1]}")
            continue
        x = torch.tensor(golden["x"], dtype=torch.float32)
        for to, (_, reader) in READERS.items():
            out = work / f"out-{number}-{to}"
            done = run("export", made, "--to", to, "--out", out)
            if done.returncode:
                continue
            target = "architecture" in (text := (made / "cfg.json").read_text()) and "transcoder" in json.loads(text)["architecture"]
            with torch.no_grad():
                result = (saelens_transcoder if target and to == "saelens" else reader)(out, x)
            if result is None:
                continue
            for got, name in zip(result, ("features", "output")):
                want = torch.tensor(golden[name], dtype=torch.float32)
                far = ((got.float() - want).abs() / want.abs().clamp(min=1)).max().item()
                worst[to, name] = max(worst[to, name], far)
                if not far <= 1e-5:
                    failed = True
                    print(f"FAILED: {expected.parent.relative_to(root)} to {to}: {name} differ by {far:.1e}")
            seen[to] += 1
    for to, (package, _) in READERS.items():
        print(f"{package} {importlib.metadata.version(package)} loads {seen[to]} dictionaries: features within {worst[to, 'features']:.1e}, "
              f"outputs within {worst[to, 'output']:.1e} of what their own programs computed")
    sys.exit(failed or not all(seen[to] for to in READERS))


if __name__ == "__main__":
    main()
