"""A model's loss on text by Hugging Face transformers, in the contexts that `sae score` uses: perplexity.py MODEL TEXT TOKENS CONTEXT

MODEL is a folder or a .gguf file, TEXT a .jsonl file with a field `text`, TOKENS how many tokens of it, CONTEXT the length of a context, BOS counted.
Documents are cut into consecutive contexts, each begun with BOS where the configuration has one; every token is predicted that has one before it.
With --sae PROGRAM as well, compares with what that program says and exits 1 if the perplexities differ by more than 1 %.
"""

import argparse
import json
import logging
import pathlib
import subprocess
import sys

import torch
import transformers

parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("text")
parser.add_argument("tokens", type=int)
parser.add_argument("context", type=int)
parser.add_argument("--no-bos", action="store_true", help="the model's tokenizer adds none, whatever its configuration says (SmolLM2)")
parser.add_argument("--sae")
parser.add_argument("--name", help="the model as sae is to load it, if that is another file")
options = parser.parse_args()
transformers.logging.set_verbosity_error()

where = dict(pretrained_model_name_or_path=options.model)
if options.model.suffix == ".gguf":
    where = dict(pretrained_model_name_or_path=options.model.parent, gguf_file=options.model.name)
model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
bos = None if options.no_bos else model.config.bos_token_id
room = options.context - (bos is not None)
nats, count, left = 0.0, 0, options.tokens
with torch.inference_mode():
    for line in open(options.text, encoding="utf8"):
        ids = tokenizer(json.loads(line)["text"], add_special_tokens=False).input_ids[:left]
        left -= len(ids)
        for at in range(0, len(ids), room):
            context = ([bos] if bos is not None else []) + ids[at : at + room]
            if len(context) > 1:
                logits = model(torch.tensor([context]), use_cache=False).logits[0]
                nats += torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(context[1:]), reduction="sum").item()
                count += len(context) - 1
        if left == 0:
            break
theirs = torch.tensor(nats / count).exp().item()
print(f"transformers: {count} tokens, {nats / count:.6f} nats/token, perplexity {theirs:.4f}")
if options.sae:
    command = [options.sae, "score", "--model", options.name or str(options.model), "--text", options.text,
               "--tokens", str(options.tokens), "--context-length", str(options.context), "--json", "-q"]
    domains = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["domains"]
    tokens = sum(d["tokens"] for d in domains.values())
    nats = sum(d["tokens"] * d["nats_per_token"] for d in domains.values())
    ours = torch.tensor(nats / tokens).exp().item()
    print(f"sae:          {tokens} tokens, {nats / tokens:.6f} nats/token, perplexity {ours:.4f}, {100 * (ours / theirs - 1):+.4f} %")
    sys.exit(0 if tokens == count and abs(ours / theirs - 1) <= 0.01 else 1)
