"""Tokens a second and memory of `sae harvest` beside Hugging Face transformers on the same model, layer and text, in turns.

    throughput.py MODEL TEXT --sae PROGRAM --layer L [--gradients] [--bf16] [--tokens N] [--context 1024] [--rounds 5] [--batches 1,2,4,8]

MODEL is a .gguf file or a folder, TEXT what `sae harvest --text` takes. transformers gets every advantage that costs its user
nothing: the weights as f32 safetensors (converted once, into --work), all cores, the batch size that is fastest of --batches, scaled-dot-product attention,
full contexts of consecutive tokens without padding or masks, no layer after L and no logits unless gradients ask for them, weights without gradients.
It writes the hidden states (and gradients) as raw f16 (f32), `sae` writes its dataset; both are timed from the first batch to the last
byte written, transformers after one batch to warm up. A round is one process of each. What both made of the first context is compared.

With --bf16 both multiply in bfloat16, transformers with its weights and all else in it.

Needs pyarrow, and for .gguf what perplexity.py needs.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def worker(options):
    """One run of transformers; prints what it measured."""
    import numpy
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    transformers.logging.set_verbosity_error()
    tokens = torch.from_numpy(numpy.load(options.contexts).astype(numpy.int64))
    kind = transformers.AutoModelForCausalLM
    model = kind.from_pretrained(options.model, dtype=torch.bfloat16 if options.bf16 else torch.float32, attn_implementation="sdpa").eval()
    model.requires_grad_(False)
    sink = open(options.out, "wb") if options.out else None

    def write(tensor, dtype):
        array = tensor.reshape(-1, tensor.shape[-1]).float().numpy().astype(dtype)
        if sink:
            array.tofile(sink)
        return array

    if options.gradients:
        kept = {}

        def keep(module, inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = kept["hidden"] = hidden.detach().requires_grad_()
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        model.model.layers[options.layer].register_forward_hook(keep)

        def run(batch):
            logits = model(batch, use_cache=False).logits
            flat = logits[:, :-1].reshape(-1, logits.shape[-1])
            loss = torch.nn.functional.cross_entropy(flat, batch[:, 1:].reshape(-1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, kept["hidden"])
            write(gradient, numpy.float32)
            return write(kept["hidden"].detach(), numpy.float16)
    else:
        base = model.model
        base.layers = base.layers[: options.layer + 1]
        base.config.num_hidden_layers = options.layer + 1
        base.norm = torch.nn.Identity()
        del model

        @torch.inference_mode()
        def run(batch):
            return write(base(batch, use_cache=False).last_hidden_state, numpy.float16)

    for size in options.batches:
        first = run(tokens[:size])
        if sink:
            sink.seek(0)
        rates, begin = [], time.perf_counter()
        for at in range(0, len(tokens), size):
            run(tokens[at : at + size])
        seconds = time.perf_counter() - begin
        print(json.dumps({"batch": size, "tokens": tokens.numel(), "seconds": seconds}), flush=True)
    if options.first:
        numpy.save(options.first, first[: options.context])


def measured(command):
    """Standard output of a command, its peak memory in MiB and its processor seconds."""
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return out, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def converted(model, work):
    """The model as a folder of f32 safetensors that transformers loads without work."""
    if model.is_dir():
        return model
    folder = work / model.stem
    if not (folder / "config.json").exists():
        # In a process of its own: the peak memory of a child counts what its parent had when it was begun.
        subprocess.run([sys.executable, __file__, model, "--convert", folder, "--layer", "0"], check=True)
    return folder


def convert(model, folder):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
    # A model that was read from GGUF refuses to be saved: the same weights in a new one do not.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)


def contexts(dataset, length, bos, path):
    """The dataset's tokens, one after another, as full contexts each begun with BOS if there is one."""
    import numpy
    import pyarrow.parquet

    parts = sorted(dataset.glob("activations-*.parquet"))
    tokens = numpy.concatenate([pyarrow.parquet.read_table(p, columns=["token"])["token"].to_numpy() for p in parts])
    room = length - (bos is not None)
    rows = tokens[: len(tokens) // room * room].reshape(-1, room)
    if bos is not None:
        rows = numpy.concatenate([numpy.full((len(rows), 1), bos, rows.dtype), rows], 1)
    numpy.save(path, rows)
    return len(rows)


def difference(dataset, first, bos):
    """Largest difference on the first context's tokens, of the largest number there; the first token of a model without BOS counts."""
    import numpy
    import pyarrow.parquet

    theirs = numpy.load(first).astype(numpy.float32)[bos is not None :]
    part = sorted(dataset.glob("activations-*.parquet"))[0]
    table = pyarrow.parquet.read_table(part, columns=["document", "activation"]).slice(0, len(theirs))
    documents = table["document"].to_numpy()
    n = int((documents == documents[0]).sum())
    ours = numpy.stack(table["activation"].slice(0, n).combine_chunks().flatten().to_numpy().reshape(n, -1)).astype(numpy.float32)
    return float(numpy.abs(ours - theirs[:n]).max() / numpy.abs(theirs[:n]).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", nargs="?")
    parser.add_argument("--sae")
    parser.add_argument("--layer", type=int, required=True)
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--bos", type=int, help="token that begins a context, if the model has one")
    parser.add_argument("--work", type=pathlib.Path, help="where the converted model is kept")
    parser.add_argument("--convert", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--contexts", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    parser.add_argument("--first", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        return convert(options.model, options.convert)
    if options.contexts:
        return worker(options)

    scratch = pathlib.Path(tempfile.mkdtemp())
    work = options.work or scratch
    work.mkdir(parents=True, exist_ok=True)
    folder, dataset = converted(options.model, work), scratch / "dataset"
    ask = ["--layer", options.layer, "--context", options.context] + (["--gradients"] if options.gradients else [])
    ask += ["--bf16"] if options.bf16 else []

    def ours():
        shutil.rmtree(dataset, ignore_errors=True)
        hook = f"blocks.{options.layer}.hook_resid_post"
        command = [options.sae, "harvest", "--model", options.model, "--text", options.text, "--hook", hook, "--out", dataset,
                   "--tokens", options.tokens, "--context-length", options.context, "--json", "-q",
                   "--compute", "bf16" if options.bf16 else "f32"]
        out, memory, cpu = measured(command + (["--gradients"] if options.gradients else []))
        made = json.loads(out)
        return made["rows"] / made["seconds"], memory, cpu

    def theirs(sizes, *more):
        out, memory, cpu = measured([sys.executable, __file__, folder, *ask, "--contexts", scratch / "contexts.npy",
                                     "--out", scratch / "out.bin", "--batches", ",".join(map(str, sizes)), *more])
        lines = [json.loads(line) for line in out.splitlines()]
        return {line["batch"]: line["tokens"] / line["seconds"] for line in lines}, memory, cpu

    ours()
    whole = contexts(dataset, options.context, options.bos, scratch / "contexts.npy")
    rates, _, _ = theirs(options.batches, "--first", scratch / "first.npy")
    best = max(rates, key=rates.get)
    print("transformers, tokens/s by batch size:", ", ".join(f"{b}: {r:.0f}" for b, r in rates.items()))
    print(f"largest difference on the first context: {difference(dataset, scratch / 'first.npy', options.bos):.1e} of the largest number (f16)")
    rows = []
    print(f"{'round':>5} {'sae tok/s':>10} {'MiB':>6} {'cpu s':>7}   {'transf. tok/s':>13} {'MiB':>6} {'cpu s':>7}   ratio")
    for n in range(options.rounds):
        # Who goes first alternates.
        pair = {}
        for who in ("ours", "theirs") if n % 2 == 0 else ("theirs", "ours"):
            pair[who] = ours() if who == "ours" else theirs([best])
        (a, am, ac), (b, bm, bc) = pair["ours"], pair["theirs"]
        b = b[best]
        rows.append((a / b, a, am, b, bm))
        print(f"{n + 1:>5} {a:>10.0f} {am:>6.0f} {ac:>7.1f}   {b:>13.0f} {bm:>6.0f} {bc:>7.1f}   {a / b:.2f}", flush=True)
    ratio, a, am, b, bm = (statistics.median(row[i] for row in rows) for i in range(5))
    print(f"median of {options.rounds} rounds: sae {a:.0f} tokens/s, {am:.0f} MiB; transformers {b:.0f} tokens/s (batch {best} of {whole} contexts), "
          f"{bm:.0f} MiB; ratio {ratio:.2f}")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
