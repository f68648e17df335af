"""Tokens of GGUF files: llama.cpp's vocabularies with its own expected tokens, against this program.

    python gguf_tokens.py TOKENS ARCHIVE WORK

TOKENS is the example `tokens` of the crate `lm`; ARCHIVE the source distribution of llama-cpp-python (`pip download --no-deps
--no-binary llama-cpp-python llama-cpp-python`), which has llama.cpp's `ggml-vocab-NAME.gguf` with texts (`.inp`) and their tokens
(`.out`). They are unpacked into WORK. A tokenizer of a kind that is refused (WordPiece) must be refused with its name.

One difference is meant: the tokenizers of Qwen's folders compose characters (NFC) and so do ours, whatever the file; llama.cpp does not.
Such texts are counted apart, and must have the tokens of the same text composed.
"""

import json
import pathlib
import subprocess
import sys
import tarfile
import unicodedata

BETWEEN = "\n__ggml_vocab_test__\n"
# Kinds of tokenizers that no model that is read here has.
REFUSED = {"bert-bge": "bert", "gemma-4": "gemma4"}


def unpacked(archive, work):
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            name = pathlib.PurePath(member.name).name
            if member.isfile() and name.startswith("ggml-vocab-"):
                (work / name).write_bytes(source.extractfile(member).read())
    return sorted(work.glob("ggml-vocab-*.gguf.inp"))


def main():
    program, archive, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    texts, wrong, refused, composed = 0, [], [], 0
    files = unpacked(archive, work)
    for file in files:
        model, name = file.with_suffix(""), file.name.removeprefix("ggml-vocab-").removesuffix(".gguf.inp")
        # Line ends are part of the texts.
        given = file.read_bytes().decode().split(BETWEEN)
        expected = [[int(n) for n in line.split()] for line in model.with_suffix(".gguf.out").read_text().split("\n")]
        nfc = [unicodedata.normalize("NFC", text) for text in given]
        lines = "".join(json.dumps(text) + "\n" for text in given + nfc)
        done = subprocess.run([program, str(model)], input=lines, capture_output=True, text=True)
        if name in REFUSED:
            assert done.returncode and f"`{REFUSED[name]}`" in done.stderr, f"{name}: {done.stderr}"
            refused.append(name)
            continue
        assert done.returncode == 0, f"{name}: {done.stderr}"
        all_of_them = [json.loads(line) for line in done.stdout.splitlines()]
        got, of_nfc = all_of_them[:len(given)], all_of_them[len(given):]
        # Where the last text is empty, its line of no tokens may be missing.
        expected += [[]] * (len(given) - len(expected))
        assert len(got) == len(given) == len(expected), (name, len(got), len(given), len(expected))
        texts += len(given)
        for text, theirs, ours, nfc_text, nfc_ours in zip(given, expected, got, nfc, of_nfc):
            if theirs == ours:
                continue
            if name.startswith("qwen") and text != nfc_text and ours == nfc_ours:
                composed += 1
            else:
                wrong.append((name, text, theirs, ours))
    for name, text, theirs, ours in wrong:
        print(f"DIFFERS {name}: {text!r}\n  llama.cpp {theirs}\n  ours      {ours}")
    print(f"{len(files) - len(refused)} vocabularies, {texts} texts, {composed} composed, {len(wrong)} different; refused by name: {', '.join(refused)}")
    assert texts and not wrong


if __name__ == "__main__":
    main()
