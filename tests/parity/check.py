"""Compares `sae logits` with Hugging Face transformers: check.py MODEL_DIR LOGITS.safetensors

The file holds tokens [n], logits [n, V] and, for any layers L, blocks.L.hook_resid_post [n, d] and routing.L [n, k];
its metadata has the text, and bos = "1" if the tokens begin with the BOS token. Exits 1 when anything differs.
"""

import logging
import os
import re
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
import transformers
from safetensors import safe_open

TOLERANCE = 1e-3  # of logits, absolute; of hidden states, relative to the largest number there

failures = []


def check(ok, text):
    print(f"{'ok  ' if ok else 'FAIL'} {text}")
    if not ok:
        failures.append(text)


class Warnings(logging.Handler):
    """Keeps what transformers logs, so that a key it ignores or misses shows."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def load(folder):
    """The model in float32 with eager attention, and hooks' dictionaries of residual streams and chosen experts."""
    warnings = Warnings()
    logger = transformers.logging.get_logger()
    logger.addHandler(warnings)
    model, info = transformers.OlmoeForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, local_files_only=True
    )
    logger.removeHandler(warnings)
    for name in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        found = info.get(name) or []
        check(not found, f"loading: {name.replace('_', ' ')}: {', '.join(map(str, sorted(found))) or 'none'}")
    check(not warnings.lines, f"loading: warnings: {' / '.join(warnings.lines) or 'none'}")
    return model.eval()


def observe(model):
    """Dictionaries filled by a forward pass: residual streams after each block, probabilities and choices of routers.

    output_hidden_states is no use here: its last entry is after the final norm.
    """
    residual, routing = {}, {}

    def keep_residual(layer):
        def hook(_, __, out):
            residual[layer] = (out[0] if isinstance(out, tuple) else out)[0]

        return hook

    def keep_routing(layer):
        def hook(_, __, out):
            scores, _, chosen = out
            routing[layer] = (torch.softmax(scores.float(), -1).numpy(), chosen.numpy())

        return hook

    for layer, block in enumerate(model.model.layers):
        block.register_forward_hook(keep_residual(layer))
        block.mlp.gate.register_forward_hook(keep_routing(layer))
    return residual, routing


def compare(name, ours, theirs, limit, relative_limit):
    if ours.shape != theirs.shape:
        return check(False, f"{name}: shape {list(ours.shape)}, transformers has {list(theirs.shape)}")
    difference = float(np.abs(ours.astype(np.float64) - theirs).max())
    largest = float(np.abs(theirs).max())
    relative = difference / largest
    # Written so that NaN fails.
    ok = difference <= limit and relative <= relative_limit
    check(ok, f"{name}: largest difference {difference:.2e}, relative {relative:.2e} (of the largest, {largest:.3g})")


def compare_routing(name, ours, probabilities, theirs):
    if ours.shape != theirs.shape:
        return check(False, f"{name}: shape {list(ours.shape)}, transformers has {list(theirs.shape)}")
    ours, theirs = np.sort(ours.astype(np.int64), -1), np.sort(theirs.astype(np.int64), -1)
    wrong = np.flatnonzero((ours != theirs).any(-1))
    ranked = -np.sort(-probabilities, -1)
    k = ours.shape[1]
    # Nothing is left out when all experts are chosen.
    margin = (ranked[:, k - 1] - ranked[:, k]) if k < ranked.shape[1] else np.full(len(ranked), np.inf)
    text = f"{name}: the same experts at {len(ours) - len(wrong)} of {len(ours)} tokens"
    if len(wrong):
        at = wrong[0]
        text += (
            f"; first at token {at}: {ours[at].tolist()}, transformers {theirs[at].tolist()},"
            f" margin between the last chosen and the next {margin[at]:.1e}"
        )
    else:
        text += f", closest call {margin.min():.1e}"
    check(not len(wrong), text)


def compare_tokens(folder, tokens, metadata, longest):
    text = metadata["text"]
    for name in ("AutoTokenizer", "PreTrainedTokenizerFast"):
        tokenizer = getattr(transformers, name).from_pretrained(folder, local_files_only=True)
        expected = tokenizer.encode(text, add_special_tokens=False)
        if metadata.get("bos") == "1":
            expected = [tokenizer.bos_token_id, *expected]
        cut = len(expected) > longest
        expected = expected[:longest]
        same = tokens.tolist() == expected
        told = f"{name} ({type(tokenizer).__name__}): {len(expected)} tokens{', cut to one context' if cut else ''}"
        if not same:
            at = next((i for i, pair in enumerate(zip(tokens.tolist(), expected)) if pair[0] != pair[1]), None)
            told += f", the file has {len(tokens)}" if at is None else f"; first difference at {at}:"
            if at is not None:
                told += f" {int(tokens[at])}, transformers {expected[at]} ({tokenizer.decode([expected[at]])!r})"
        check(same, told)
        back = tokenizer.decode(expected, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        check(cut or back == text, f"{name}: decodes to the text")


def main(folder, file):
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    with safe_open(file, framework="np") as stored:
        metadata = stored.metadata() or {}
        ours = {name: stored.get_tensor(name) for name in stored.keys()}
    tokens = ours.pop("tokens").astype(np.int64)

    model = load(folder)
    residual, routing = observe(model)
    with torch.no_grad():
        ids = torch.from_numpy(tokens)[None]
        logits = model(input_ids=ids).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:]).item() if len(tokens) > 1 else float("nan")
    print(f"{len(tokens)} tokens; loss on them by transformers {loss:.4f}, of a guess {np.log(logits.shape[1]):.4f}")

    if "text" in metadata:
        compare_tokens(folder, tokens, metadata, model.config.max_position_embeddings)
    else:
        print("no text in the metadata: tokenizer not checked")
    theirs = logits.numpy()
    compare("logits", ours["logits"], theirs, TOLERANCE, float("inf"))
    for name in sorted(ours):
        if hook := re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", name):
            compare(name, ours[name], residual[int(hook[1])].numpy(), float("inf"), TOLERANCE)
        elif layer := re.fullmatch(r"routing\.(\d+)", name):
            compare_routing(name, ours[name], *routing[int(layer[1])])
        elif name != "logits":
            print(f"     {name}: not looked at")
    if failures:
        sys.exit(f"{len(failures)} of the checks failed")
    print("all the same")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
