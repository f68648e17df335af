#!/usr/bin/env bash
# The tables of docs/moe-models.md: every architecture trained on one text at equal active parameters and equal tokens, with seeds, and
# looked at with one set of instruments. What is there is not made again, and an interrupted training is resumed.
#   claims.sh TEXT OUT     SAE=sae, TOKENS=5000000, SEEDS="1 2 3", MODELS="silu gelu …", ROUTED=400000, UNITS=400000, MASKED=2000,
#                          JOBS=1: models that train at a time; as many as there are cores is fastest
# TEXT: a .jsonl with `text` and `domain`, of which one document in twenty of each domain is held out; or a folder that says what is.
set -euo pipefail
sae=${SAE:-sae} tokens=${TOKENS:-5000000} seeds=${SEEDS:-1 2 3} routed=${ROUTED:-400000} units=${UNITS:-400000} masked=${MASKED:-2000} jobs=${JOBS:-1}
all="silu gelu relu top-k monet-vertical monet-horizontal moe-x moe-x-start evo-sparse evo-dense evo-start modular"
models=${MODELS:-$all}
[ $# -eq 2 ] || { sed -n 2,6p "$0" >&2; exit 2; }
given=$1 out=$2
mkdir -p "$out/options" "$out/models" "$out/data" "$out/dictionaries" "$out/found"

# Domains in turn, so that any beginning of the text has all of them.
text=$given
if [ -f "$given" ]; then
    text="$out/text"
    [ -e "$text/train.jsonl" ] || python3 - "$given" "$text" <<'PYTHON'
import itertools, json, os, sys

given, text = sys.argv[1:]
domains = {}
with open(given, encoding="utf-8") as lines:
    for line in lines:
        domains.setdefault(json.loads(line).get("domain", ""), []).append(line)
os.makedirs(text, exist_ok=True)
files = {name: open(f"{text}/{name}.jsonl.new", "w", encoding="utf-8") for name in ("train", "test")}
for i, documents in enumerate(itertools.zip_longest(*domains.values())):
    for line in filter(None, documents):
        files["test" if i % 20 == 19 else "train"].write(line)
for name in ("test", "train"):
    files[name].close()
    os.replace(f"{text}/{name}.jsonl.new", f"{text}/{name}.jsonl")
PYTHON
fi

half=$((tokens / 2))
# A step has 16 contexts of 256 tokens; the temperature is at its lowest when one expert takes over.
steps() { local n=$(($1 / 4096)); echo $((n > 0 ? n : 1)); }
# Options, tokens, and the dense model that the experts are made of. At d_model 192 and these widths a token meets 2.1 to 2.2 million parameters.
plan() {
    local one='experts_per_token = 1\nexpert_width = 504'
    echo "d_model = 192"
    case $1 in
    silu) printf 'architecture = "dense"\nexpert_width = 168\n' ;;
    gelu | gelu-half) printf "architecture = \"dense\"\ngated = false\nactivation = \"gelu\"\n$one\n" ;;
    relu | relu-half) printf "architecture = \"dense\"\ngated = false\nactivation = \"relu\"\n$one\n" ;;
    top-k) printf 'architecture = "top-k"\nexpert_width = 168\n' ;;
    monet-*) printf 'architecture = "%s"\nexpert_width = 12\n' "$1" ;;
    moe-x | moe-x-start) printf 'architecture = "moe-x"\nexpert_width = 252\n' ;;
    evo-sparse) printf 'architecture = "evo-moe"\nexpert_width = 504\ngate = { dense_share = 0.0 }\n' ;;
    evo-dense) printf 'architecture = "evo-moe"\nexpert_width = 504\ngate = { dense_share = 0.5, steps = %d }\n' "$(steps "$half")" ;;
    evo-start) printf 'architecture = "evo-moe"\nexpert_width = 504\ngate = { dense_share = 0.5, steps = %d }\n' "$(steps $((half / 2)))" ;;
    modular) printf 'architecture = "modular"\nexpert_width = 126\n' ;;
    *)
        echo "$1 is not one of: $all" >&2
        exit 2
        ;;
    esac
}

train() { # MODEL SEED
    local name=$1 model="$out/models/$1-$2" n=$tokens more=()
    case $name in
    *-half) n=$half ;;
    # The dense model's tokens count: half of all were its.
    moe-x-start) train relu-half "$2"; n=$half more=(--start "$out/models/relu-half-$2") ;;
    evo-start) train gelu-half "$2"; n=$half more=(--start "$out/models/gelu-half-$2") ;;
    esac
    [ -e "$model/pretrain.json" ] && return
    plan "$name" >"$out/options/$name.toml"
    [ -e "$model/checkpoint.safetensors" ] && more+=(--resume)
    echo "== $name, seed $2" >&2
    "$sae" pretrain --config "$out/options/$name.toml" --text "$text" --tokens "$n" --seed "$2" --quiet --out "$model" \
        ${more[@]+"${more[@]}"} >&2
}

# Keeps what a command says as JSON, whole or not at all; of one that cannot answer (status 2), why.
keep() { # FILE COMMAND…
    local file=$1 status=0
    shift
    [ -e "$file" ] && return
    "$sae" --json --quiet "$@" >"$file.new" || status=$?
    if [ $status -ne 0 ] && { [ $status -ne 2 ] || ! grep -q '"error"' "$file.new"; }; then
        cat "$file.new" >&2
        exit 1
    fi
    mv "$file.new" "$file"
}

# A dictionary of the stream after the third block, with what its features are about and what the model loses by it.
dictionary() { # NAME-SEED
    local run="$out/dictionaries/$1"
    [ -e "$out/found/$1-dictionary.json" ] && [ -e "$out/found/$1-rules.json" ] && return
    if [ -e "$run/run.json" ]; then
        "$sae" train --out "$run" --resume --quiet >&2
    else
        "$sae" train --data "$out/data/$1" --d-sae 1536 --k 32 --batch 1024 --tokens 1000000 --seed 0 --quiet --out "$run" >&2
    fi
    [ -d "$run/features" ] || "$sae" index "$run" --quiet >&2
    keep "$out/found/$1-dictionary.json" evaluate "$run" --tokens 20000
    keep "$out/found/$1-rules.json" explain "$run"
}

# All trainings first, several at a time: most of a small model's time is in steps that one thread does.
if [ "$jobs" -gt 1 ]; then
    trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
    export RAYON_NUM_THREADS=$((($(nproc) + jobs - 1) / jobs))
    for seed in $seeds; do
        for name in $models; do
            while [ "$(jobs -pr | wc -l)" -ge "$jobs" ]; do wait -n; done
            train "$name" "$seed" &
        done
    done
    while [ -n "$(jobs -pr)" ]; do wait -n; done
    unset RAYON_NUM_THREADS
fi

for seed in $seeds; do
    for name in $models; do
        train "$name" "$seed"
        model="$out/models/$name-$seed" data="$out/data/$name-$seed" found="$out/found/$name-$seed"
        keep "$found-units.json" experts units "$model" --text "$text" --tokens "$units" --seed 1
        routing=--routing
        case $name in silu | gelu | relu) routing= ;; esac
        [ -e "$data/dataset.json" ] ||
            "$sae" harvest --model "$model" --text "$text" --hook blocks.2.hook_resid_post $routing --tokens "$routed" --quiet --out "$data" >&2
        dictionary "$name-$seed"
        [ -n "$routing" ] || continue
        keep "$found-routers.json" experts explain "$out/dictionaries/$name-$seed"
        keep "$found-usage.json" experts "$data"
        keep "$found-weights.json" experts weights "$data"
        keep "$found-written.json" experts written "$data"
        for domain in $(python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))["domains"])' "$found-usage.json"); do
            keep "$found-mask-$domain.json" experts mask "$data" --domain "$domain" --tokens "$masked" --controls 2 --seed 1
        done
    done
done
for name in $models; do
    case $name in silu | gelu | relu) continue ;; esac
    for a in $seeds; do
        for b in $seeds; do
            [ "$a" = "$b" ] || keep "$out/found/$name-$a-cells-$b.json" experts cells "$out/data/$name-$a" "$out/data/$name-$b"
        done
    done
done

python3 - "$out" "$seeds" $models <<'PYTHON'
import json, math, pathlib, sys

out, seeds, models = pathlib.Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3:]
dense = {"silu", "gelu", "relu"}

def read(path):
    path = out / path
    return json.loads(path.read_text()) if path.exists() else None

def shown(values, digits=3, scale=1.0):
    values = [v * scale for v in values if v is not None]
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"

def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None

def table(title, head, rows):
    print(f"\n**{title}**\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")

trained = {(m, s): read(f"models/{m}-{s}/pretrain.json") for m in models for s in seeds}
result = lambda m: [trained[m, s]["result"] for s in seeds]
bits = lambda r: {domain: score["bits_per_byte"] for domain, score in r["held_out"].items()}
# What the experts were made of took its share of the tokens.
before = lambda m, s: read(f"models/{ {'moe-x-start': 'relu-half', 'evo-start': 'gelu-half'}[m] }-{s}/pretrain.json") if m.endswith("-start") else None
total = lambda m, s: trained[m, s]["result"]["tokens"] + (before(m, s) or {"result": {"tokens": 0}})["result"]["tokens"]

table("Models", ["model", "parameters", "a token meets", "tokens", "bits per byte", "training, µs per token"], [
    [m, f"{result(m)[0]['parameters']:,}", f"{mean([r['active_parameters'] for r in result(m)]):,.0f}",
     f"{mean([total(m, s) for s in seeds]):,.0f}",
     shown([mean(bits(r).values()) for r in result(m)]),
     shown([1e6 / r["tokens_per_second"] if r.get("tokens_per_second") else None for r in result(m)], 0)]
    for m in models])

domains = sorted({d for m in models for r in result(m) for d in bits(r)})
# A line for each model, so that tables of some models at a time can be put together.
table("Bits per byte of held-out documents, by domain", ["model", *domains], [
    [m, *[shown([bits(r).get(d) for r in result(m)]) for d in domains]] for m in models])

def found(m, what):
    return [f for f in (read(f"found/{m}-{s}-{what}.json") for s in seeds) if f and "error" not in f]

def of_layers(m, key):
    return [mean([row[key] for row in f["balance"] if row["domain"] is None]) for f in found(m, "usage")]

def never(m):
    def of(f):
        all_text = [row for row in f["load"] if row["domain"] is None]
        return sum(row["tokens"] == 0 for row in all_text) / len({row["layer"] for row in all_text})
    return [of(f) for f in found(m, "usage")]

def duplicates(m):
    return [sum(row["duplicate"] for row in f["similarity"]) for f in found(m, "weights")]

def again(m):
    values = []
    for a in seeds:
        for b in seeds:
            cells = read(f"found/{m}-{a}-cells-{b}.json")
            if a != b and cells and "error" not in cells:
                values.append(mean([float((c["best_cosine"] or 0.0) >= 0.5) for c in cells["cells"]]))
    return values

def sizes(m, of):
    values = []
    for a in seeds:
        for b in seeds:
            cells = read(f"found/{m}-{a}-cells-{b}.json")
            if a != b and cells and "error" not in cells:
                values.append(cells[of] / max(len(cells["cells"]), 1))
    return values

mixtures = [m for m in models if m not in dense]
table("Experts, means over layers", ["model", "experts", "used in effect", "never chosen", "activation density", "expert and domain, bits",
      "specialised (2×)", "duplicates", "found again with another seed, %", "missed, %", "split, %"], [
    [m, shown(of_layers(m, "experts"), 0), shown(of_layers(m, "effective_experts"), 1), shown(never(m), 1),
     shown(of_layers(m, "activation_density")),
     shown([mean([row["mutual_information"] for row in f["information"]]) for f in found(m, "usage")]),
     shown([mean([row["specialised"] for row in f["information"]]) for f in found(m, "usage")], 1),
     shown(duplicates(m), 1), shown(again(m), 1, 100), shown(sizes(m, "missed"), 1, 100), shown(sizes(m, "split"), 1, 100)]
    for m in mixtures])

def ruled(m, of):
    values = []
    for f in found(m, "units"):
        n = sum(layer[of] for layer in f["layers"])
        values.append(sum(layer[of + "_ruled"] for layer in f["layers"]) / n if n else None)
    return values

table("Explained by a rule of tokens (F1 of 0.8 or more)", ["model", "units, %", "mean F1 of units", "units not 0, %", "experts, %",
      "mean F1 of experts"], [
    [m, shown(ruled(m, "units"), 1, 100), shown([mean([l["units_f1"] for l in f["layers"]]) for f in found(m, "units")]),
     shown([mean([l["density"] for l in f["layers"]]) for f in found(m, "units")], 1, 100),
     shown(ruled(m, "experts"), 1, 100), shown([mean([l["experts_f1"] for l in f["layers"]]) for f in found(m, "units")])]
    for m in models])

def of(m, what, key):
    return [key(f) for f in found(m, what)]

table("Dictionaries of the stream after the third block (topk, 1,536 features, k = 32)", ["model", "FVE", "CE increase, nats",
      "features that a rule explains, %", "routing told by 64 features an expert, recall", "by the token", "by all dimensions"], [
    [m, shown(of(m, "dictionary", lambda f: f["fve"])), shown(of(m, "dictionary", lambda f: f["ce_reconstructed"] - f["ce_clean"])),
     shown(of(m, "rules", lambda f: f["explained"] / f["features"]), 1, 100),
     *[shown(of(m, "routers", lambda f: mean([row["recall"] for layer in f["layers"] for row in layer["predictors"]
           if row["predictor"] == how and row["features"] == n])))
       for how, n in (("features", 64), ("unigram", None), ("dense", None))]]
    for m in models])

def written(m, key):
    values = []
    for f in found(m, "written"):
        last = {(row["layer"], row["expert"]): row[key] for row in f["rows"]}
        values.append(mean(list(last.values())))
    return values

table("Squares of an expert's outputs that eight tokens' directions give, %", ["model", "chosen", "by chance"], [
    [m, shown(written(m, "explained"), 1, 100), shown(written(m, "by_chance"), 1, 100)] for m in mixtures])

def masked(m):
    rows = []
    for s in seeds:
        for path in sorted((out / "found").glob(f"{m}-{s}-mask-*.json")):
            report = json.loads(path.read_text())
            if "error" in report:
                continue
            report = report["masks"][0]
            domain = path.stem.split("-mask-", 1)[1]
            rise = {row["domain"]: row["after"] - row["before"] for row in report["domains"]}
            control = {row["domain"]: row["control"] - row["before"] for row in report["domains"] if row["control"] is not None}
            if domain in rise:
                others = [v for d, v in rise.items() if d != domain]
                rows.append((s, rise[domain], mean(others), control.get(domain)))
    by_seed = lambda i: [mean([row[i] for row in rows if row[0] == s]) for s in seeds]
    count = [sum(row[0] == s for row in rows) for s in seeds]
    return [shown(count, 1), shown(by_seed(1)), shown(by_seed(2)), shown(by_seed(3))]

table("Without the experts specialised in a domain: loss in nats per token, rise", ["model", "domains with such experts", "there",
      "in the others", "there without as many drawn by chance"], [[m, *masked(m)] for m in mixtures])
PYTHON
