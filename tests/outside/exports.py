"""Reads what `sae export` wrote with nothing of ours: exports.py SAE RUN WORK.

RUN is an indexed run. Weights are read with numpy, safetensors, zipfile and pickletools (no torch: `peers.sh` has the
peers' own classes), and codes and reconstructions are computed from each layout by its own program's rule and compared with the index's
codes, of transcoders with what SAELens's classes gave. Neuronpedia's files are checked against a schema that was written from its database's, field by field.
"""

import gzip
import io
import json
import pathlib
import pickle
import pickletools
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

checks = 0


def check(what, ok, detail=""):
    global checks
    checks += 1
    if not ok:
        sys.exit(f"FAILED: {what} {detail}")


def export(sae, run, out, *options):
    command = [sae, "export", run, "--out", out, "--json", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return json.loads(done.stdout)


# A state dict without torch: pickle may call two functions, and neither is torch's.


class Numbers(pickle.Unpickler):
    def __init__(self, archive):
        super().__init__(io.BytesIO(archive.read("ae/data.pkl")))
        self.archive = archive

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuilt
        if module == "torch":
            return {"FloatStorage": np.float32, "IntStorage": np.int32}[name]
        raise ValueError(f"the pickle names {module}.{name}")

    def persistent_load(self, key):
        kind, dtype, name, device, count = key
        check("storage on the cpu", (kind, device) == ("storage", "cpu"))
        numbers = np.frombuffer(self.archive.read(f"ae/data/{name}"), dtype)
        check("length of a storage", len(numbers) == count)
        return numbers


def rebuilt(numbers, offset, shape, strides, requires_grad, hooks):
    contiguous = np.empty(shape, np.int8).strides
    check("strides are of rows", tuple(strides) == tuple(contiguous) and offset == 0 and not requires_grad)
    return numbers.reshape(shape)


def state_dict(path):
    archive = zipfile.ZipFile(path)
    check("no damage in the zip", archive.testzip() is None)
    check("nothing is compressed", all(info.compress_type == 0 for info in archive.infolist()))
    check("version", archive.read("ae/version") == b"3\n" and archive.read("ae/byteorder") == b"little")
    pickletools.dis(archive.read("ae/data.pkl"), out=io.StringIO())
    return Numbers(archive).load()


# Codes by each program's rule, in f64.


def topk(z, k):
    z = np.maximum(z, 0)
    kept = np.zeros_like(z)
    best = np.argsort(-z, axis=1, kind="stable")[:, :k]
    np.put_along_axis(kept, best, np.take_along_axis(z, best, 1), 1)
    return kept


def wide(tensors):
    return {name: np.asarray(value, np.float64) for name, value in tensors.items()}


def of_saelens(folder, x):
    config, t = json.loads((folder / "cfg.json").read_text()), wide(load_file(folder / "sae_weights.safetensors"))
    z = (x - t["b_dec"] * config["apply_b_dec_to_input"]) @ t["W_enc"] + t["b_enc"]
    if config["architecture"] == "topk":
        codes = topk(z, config["k"])
    else:
        codes = np.maximum(z, 0) * (z > t["threshold"])
    return codes, codes @ t["W_dec"] + t["b_dec"]


def of_sparsify(folder, x):
    config, t = json.loads((folder / "cfg.json").read_text()), wide(load_file(folder / "sae.safetensors"))
    check("sparsify's configuration", config["activation"] == "topk" and not config["transcode"], config)
    check("sparsify's shapes", t["W_dec"].shape == t["encoder.weight"].shape == (config["num_latents"], config["d_in"]))
    codes = topk((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"], config["k"])
    return codes, codes @ t["W_dec"] + t["b_dec"]


def of_dictionary_learning(folder, x):
    config, t = json.loads((folder / "config.json").read_text())["trainer"], wide(state_dict(folder / "ae.pt"))
    if config["dict_class"] == "JumpReluAutoEncoder":
        z = x @ t["W_enc"] + t["b_enc"]
        codes = np.maximum(z, 0) * (z > t["threshold"])
        return codes, codes @ t["W_dec"] + t["b_dec"]
    z = np.maximum((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"], 0)
    codes = topk(z, int(t["k"])) if config["dict_class"] == "AutoEncoderTopK" else z * (z > t["threshold"])
    return codes, codes @ t["decoder.weight"].T + t["b_dec"]


def some_rows(run, data, count=512):
    """Activations and the index's own codes of the first tokens, which are of the same documents and positions."""
    codes = pq.ParquetFile(run / "features/codes-00000.parquet").read_row_group(0).slice(0, count).to_pylist()
    rows = pq.ParquetFile(next(iter(sorted(data.glob("activations-*.parquet"))))).read_row_group(0).slice(0, count).to_pylist()
    places = [[(row["document"], row["position"]) for row in table] for table in (codes, rows)]
    check("codes and activations are of the same tokens", places[0] == places[1])
    return np.array([row["activation"] for row in rows], np.float64), codes


def compare(name, found, codes):
    expected = np.zeros_like(found)
    for i, row in enumerate(codes):
        expected[i, row["features"]] = row["values"]
    # In f64 a tie at the k-th place may fall the other way: such pairs are as small as the smallest code of their token.
    differing = np.abs(found - expected) > 1e-5 * (1 + np.abs(expected))
    check(f"{name}: codes", differing.sum() <= 2, f"{differing.sum()} of {len(codes)} tokens' pairs differ")
    check(f"{name}: some codes", (expected > 0).sum() > len(codes))


# Neuronpedia: the columns of its database's tables, what may be null, and what is a list of what.

TEXT, NUMBER, WHOLE, FLAG = (str,), (int, float), (int,), (bool,)
FEATURE = {
    "modelId": TEXT, "layer": TEXT, "index": TEXT, "sourceSetName": TEXT, "creatorId": TEXT, "createdAt": TEXT,
    "maxActApprox": NUMBER, "hasVector": FLAG, "vector": [NUMBER], "vectorLabel": None, "vectorDefaultSteerStrength": NUMBER,
    "hookName": TEXT, "topkCosSimIndices": [WHOLE], "topkCosSimValues": [NUMBER], "neuron_alignment_indices": [WHOLE],
    "neuron_alignment_values": [NUMBER], "neuron_alignment_l1": [NUMBER], "correlated_neurons_indices": [WHOLE],
    "correlated_neurons_pearson": [NUMBER], "correlated_neurons_l1": [NUMBER], "correlated_features_indices": [WHOLE],
    "correlated_features_pearson": [NUMBER], "correlated_features_l1": [NUMBER], "neg_str": [TEXT], "neg_values": [NUMBER],
    "pos_str": [TEXT], "pos_values": [NUMBER], "frac_nonzero": NUMBER, "freq_hist_data_bar_heights": [NUMBER],
    "freq_hist_data_bar_values": [NUMBER], "logits_hist_data_bar_heights": [NUMBER], "logits_hist_data_bar_values": [NUMBER],
    "decoder_weights_dist": [NUMBER],
}
ACTIVATION = {
    "id": TEXT, "tokens": [TEXT], "index": TEXT, "layer": TEXT, "modelId": TEXT, "maxValue": NUMBER, "maxValueTokenIndex": WHOLE,
    "minValue": NUMBER, "values": [NUMBER], "creatorId": TEXT, "dataSource": None, "dataIndex": TEXT, "dfaValues": [NUMBER],
    "dfaTargetIndex": None, "dfaMaxValue": None, "createdAt": TEXT, "lossValues": [NUMBER], "logitContributions": None,
    "binMin": NUMBER, "binMax": NUMBER, "binContains": NUMBER, "qualifyingTokenIndex": WHOLE, "zIndices": None, "zValues": None,
}
EXPLANATION = {
    "id": TEXT, "modelId": TEXT, "layer": TEXT, "index": TEXT, "description": TEXT, "authorId": TEXT, "embedding": None,
    "typeName": None, "explanationModelName": None, "notes": TEXT, "createdAt": TEXT,
}
NEEDED = {
    "release.jsonl": ["name", "description", "creatorName", "creatorId", "visibility"],
    "model.jsonl": ["id", "displayName", "creatorId", "layers", "neuronsPerLayer", "owner", "visibility"],
    "sourceset.jsonl": ["modelId", "name", "description", "creatorName", "creatorId", "visibility", "releaseName"],
    "source.jsonl": ["id", "modelId", "setName", "creatorId", "visibility"],
}


def fits(value, kind):
    if kind is None:
        return value is None
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(one, kind[0]) for one in value)
    return isinstance(value, kind) and (kind == FLAG or not isinstance(value, bool))


def rows_of(folder, table, schema):
    rows = []
    files = sorted((folder / table).glob("batch-*.jsonl.gz"), key=lambda path: int(path.name.split("-")[1].split(".")[0]))
    check(f"{table}: batches are numbered from 0", [f.name for f in files] == [f"batch-{i}.jsonl.gz" for i in range(len(files))])
    for path in files:
        rows += [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    for row in rows:
        check(f"{table}: columns", row.keys() == schema.keys(), row.keys() ^ schema.keys())
        for name, kind in schema.items():
            check(f"{table}: {name}", fits(row[name], kind), row[name])
        check(f"{table}: no NUL", "\0" not in json.dumps(row, ensure_ascii=False))
    return rows


def neuronpedia(out, run):
    meta = {}
    (folder,) = out.glob("*/*/")
    for name, needed in NEEDED.items():
        (line,) = (folder / name).read_text().splitlines()
        meta[name] = json.loads(line)
        check(f"{name}: not null", all(meta[name].get(key) is not None for key in needed), meta[name])
    model, source, source_set = meta["model.jsonl"]["id"], meta["source.jsonl"]["id"], meta["sourceset.jsonl"]["name"]
    check("the folder is MODEL/LAYER-SET", folder == out / model / source and source.split("-", 1)[1] == source_set)
    check("the set is of the release", meta["sourceset.jsonl"]["releaseName"] == meta["release.jsonl"]["name"])
    features = rows_of(folder, "features", FEATURE)
    activations = rows_of(folder, "activations", ACTIVATION)
    explanations = rows_of(folder, "explanations", EXPLANATION)
    for row in features + activations + explanations:
        check("rows belong to the source", (row["modelId"], row["layer"]) == (model, source))
    ids = [row["id"] for row in activations + explanations]
    check("ids are unique and of 25 characters", len(set(ids)) == len(ids) and all(len(one) == 25 for one in ids))

    table = pq.read_table(run / "features/features.parquet").to_pylist()
    check("every feature once, in order", [row["index"] for row in features] == [str(row["feature"]) for row in table])
    decoder = load_file(run / "sae_weights.safetensors")["W_dec"]
    for row, ours in zip(features, table):
        check("maximum", abs(row["maxActApprox"] - ours["max"]) <= 1e-5 * (1 + ours["max"]))
        check("density", abs(row["frac_nonzero"] - ours["density"]) < 1e-7)
        check("vector", np.abs(np.array(row["vector"]) - decoder[ours["feature"]]).max() <= 6e-6)
        check("histogram", sum(row["freq_hist_data_bar_heights"]) == ours["count"])
        check("logits", len(row["pos_str"]) == len(row["pos_values"]) == len(ours["top_logits"]))
    examples = pq.read_table(run / "features/examples.parquet").to_pylist()
    examples = [one for one in examples if one["interval"] >= 0]
    check("an activation per example that is not random", len(activations) == len(examples))
    shares = {}
    for row, ours in zip(activations, examples):
        check("as many tokens as values", len(row["tokens"]) == len(row["values"]) == len(ours["tokens"]))
        check("values", np.abs(np.array(row["values"]) - ours["values"]).max() < 1e-5)
        check("the largest", row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"]))
        check("the smallest", row["minValue"] == min(row["values"]))
        check("the token it is about", ours["start"] + row["qualifyingTokenIndex"] == ours["position"])
        if ours["interval"]:
            low, value, high = row["binMin"], row["values"][row["qualifyingTokenIndex"]], row["binMax"]
            check("the bin holds it", low - 2e-5 <= value <= high + 2e-5, (low, value, high))
            shares.setdefault(row["index"], {})[low] = row["binContains"]
        else:
            check("the strongest have no bin", (row["binMin"], row["binContains"]) == (-1, -1))
    check("shares of the bins", all(sum(bins.values()) <= 1.0001 for bins in shares.values()))
    return len(features), len(activations), len(explanations)


def pages(out, run):
    def call(path, function):
        text = path.read_text(encoding="utf-8").strip()
        head, tail = f"dictionary.{function}(", ");"
        check(f"{path.name} is one call", text.startswith(head) and text.endswith(tail) and "<" not in text)
        return json.loads(text[len(head) : -len(tail)])

    index = call(out / "data/index.js", "index")
    table = pq.read_table(run / "features/features.parquet", columns=["feature", "count", "max"]).to_pylist()
    check("a line per feature", index["feature"] == [row["feature"] for row in table])
    check("counts", index["count"] == [row["count"] for row in table])
    seen = []
    for number in range(-(-len(table) // index["shard"])):
        shard = call(out / f"data/shard-{number}.js", "shard")
        for feature in shard["features"]:
            seen.append(feature["feature"])
            check("tokens are of the shard", all(0 <= word < len(shard["words"]) for one in feature["examples"] for word in one["t"]))
            check("examples of a feature that fires", bool(feature["examples"]) == (feature["count"] > 0))
    check("every feature has its page", seen == index["feature"])


# Transcoders that SAELens's classes made, with what these make of four rows; TopK ones have no place in a set.
GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "sae/tests/dictionaries/saelens_v6"
TRANSCODERS = ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"]


def circuit_tracer(sae, work):
    """By circuit-tracer's documented rules: its package is not on PyPI (the one of that name is a fork)."""
    for name in TRANSCODERS:
        imported = [sae, "import", "dictionary", GOLDEN / name, "--out", work / f"{name}-run", "--quiet"]
        done = subprocess.run(imported, capture_output=True, text=True)
        check(f"{name}: import", done.returncode == 0, done.stderr)
        export(sae, work / f"{name}-run", work / name, "--to", "circuit-tracer")
        lines = (work / name / "config.yaml").read_text().splitlines()
        config = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines if ": " in line)}
        check(f"{name}: the kind", config["model_kind"] == "transcoder_set", config)
        (file,) = (work / name).glob("layer_*.safetensors")
        check(f"{name}: the list", lines[lines.index("transcoders:") + 1] == f'- "{file.name}"', lines)
        expected = json.loads((GOLDEN / name / "expected.json").read_text())
        hook = expected.get("hook", config["feature_input_hook"])
        check(f"{name}: a hook of TransformerLens without its block", hook and not hook.startswith("blocks."), hook)
        t, x = wide(load_file(file)), np.array(expected["x"], np.float64)
        z = x @ t["W_enc"].T + t["b_enc"]
        codes = np.maximum(z, 0) * (z > t.get("activation_function.threshold", 0))
        out = codes @ t["W_dec"] + t["b_dec"] + (x @ t["W_skip"].T if "W_skip" in t else 0)
        check(f"{name}: codes", np.abs(codes - np.array(expected["features"])).max() < 1e-5)
        check(f"{name}: outputs", np.abs(out - np.array(expected["output"])).max() < 1e-5)


LAYERS = 4


def cross_layer(sae, work):
    """A cross-layer transcoder trained here, read by circuit-tracer's rules: what it explains of the harvested targets is what
    `sae evaluate` says of the same tokens."""
    work = work / "cross-layer"
    work.mkdir()
    text = pathlib.Path(__file__).resolve().parents[2] / "assets/corpus/reference.jsonl"
    hooks = [part for layer in range(LAYERS) for side in ("in", "out") for part in ("--hook", f"blocks.{layer}.hook_mlp_{side}")]
    commands = [
        ["harvest", "--text", text, "--tokens", "20000", "--dtype", "f32", *hooks, "--out", work / "data"],
        ["train", "--cross-layer", "--data", work / "data", "--method", "batch-topk", "--d-sae", "128", "--k", "8", "--batch", "512",
         "--tokens", "60000", "--out", work / "clt"],
        ["evaluate", work / "clt", "--all-documents", "--json"],
    ]
    for command in commands:
        done = subprocess.run([sae, *command, "--quiet"], capture_output=True, text=True)
        check(f"{command[0]} of a cross-layer transcoder", done.returncode == 0, done.stderr)
    told = json.loads(done.stdout)
    config = dict(line.split(": ", 1) for line in (work / "clt/config.yaml").read_text().splitlines())
    config = {key: json.loads(value) for key, value in config.items()}
    check("the kind", config["model_kind"] == "cross_layer_transcoder", config)
    check("the hooks", (config["feature_input_hook"], config["feature_output_hook"]) == ("mlp.hook_in", "hook_mlp_out"), config)

    def rows(layer, side):
        files = sorted((work / f"data/blocks.{layer}.hook_mlp_{side}").glob("activations-*.parquet"))
        tables = [pq.read_table(file, columns=["activation"])["activation"] for file in files]
        return np.concatenate([np.stack(table.to_numpy(zero_copy_only=False)) for table in tables]).astype(np.float64)

    out = [0.0] * LAYERS
    for layer in range(LAYERS):
        t = wide(load_file(work / f"clt/W_enc_{layer}.safetensors"))
        decoder = wide(load_file(work / f"clt/W_dec_{layer}.safetensors"))[f"W_dec_{layer}"]
        check("decoders to this and all later layers", decoder.shape[1] == LAYERS - layer, decoder.shape)
        z = rows(layer, "in") @ t[f"W_enc_{layer}"].T + t[f"b_enc_{layer}"]
        codes = np.maximum(z, 0) * (z > t[f"threshold_{layer}"])
        check("L0", abs((codes > 0).sum(1).mean() - told["layers"][layer]["l0"]) < 0.01)
        out[layer] = out[layer] + t[f"b_dec_{layer}"]
        for to in range(layer, LAYERS):
            out[to] = out[to] + codes @ decoder[:, to - layer]
    for layer in range(LAYERS):
        y = rows(layer, "out")
        fve = 1 - ((y - out[layer]) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
        check(f"FVE of layer {layer}", abs(fve - told["layers"][layer]["fve"]) < 1e-3, (fve, told["layers"][layer]["fve"]))


def main():
    sae, run, work = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3]).resolve()
    data = pathlib.Path(sys.argv[4]).resolve() if len(sys.argv) > 4 else run.parent / "data"
    x, codes = some_rows(run, data)
    outputs = {}
    readers = {
        "saelens": (of_saelens, "."), "sparsify": (of_sparsify, "layers.*"), "dictionary-learning": (of_dictionary_learning, "trainer_0"),
    }
    if "threshold" in load_file(run / "sae_weights.safetensors"):
        del readers["sparsify"]
    for name, (reader, where) in readers.items():
        export(sae, run, work / name, "--to", name)
        (folder,) = [work / name] if where == "." else (work / name).glob(where)
        found, outputs[name] = reader(folder, x)
        compare(name, found, codes)
    largest = np.abs(outputs["saelens"]).max()
    for name, output in outputs.items():
        check(f"{name}: outputs", np.abs(output - outputs["saelens"]).max() <= 1e-4 * largest)
    sparsity = load_file(work / "saelens/sparsity.safetensors")["sparsity"]
    density = pq.read_table(run / "features/features.parquet", columns=["density"])["density"].to_numpy()
    check("sparsity", np.abs(sparsity - np.log10(density + 1e-10)).max() < 1e-4)

    export(sae, run, work / "neuronpedia", "--to", "neuronpedia")
    counts = neuronpedia(work / "neuronpedia", run)
    export(sae, run, work / "pages", "--to", "html")
    pages(work / "pages", run)
    circuit_tracer(sae, work)
    cross_layer(sae, work)
    print(f"exports: {checks} checks as expected ({len(codes)} tokens; Neuronpedia rows: {counts})")


if __name__ == "__main__":
    main()
