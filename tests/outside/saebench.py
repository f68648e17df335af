"""SAEBench's files against its JSON schemas: saebench.py SAE WHEEL RUN SETS WORK

SAE is the program, WHEEL the wheel of sae-bench 0.6.0, RUN a run whose dataset and model are there, SETS the prompts of sae-probes.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema

SCHEMAS = {
    "core": "sae_bench/evals/core/eval_output_schema_core.json",
    "sparse_probing": "sae_bench/evals/sparse_probing/eval_output_schema_sparse_probing.json",
}


def required(schema):
    groups = [group for name, group in schema["$defs"].items() if name != "CoreFeatureMetric"]
    return sorted({field for group in groups for field in group.get("required", [])})


def refuses(schema, result, field):
    broken = json.loads(json.dumps(result).replace(f'"{field}":', '"gone":'))
    try:
        jsonschema.validate(broken, schema)
    except jsonschema.ValidationError:
        return True
    return False


def main(sae, wheel, run, sets, work):
    command = lambda *words: subprocess.run([sae, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    command("probe", run, "--sets", sets, "--only", "131_temp_cat_Typical Time,87_glue_cola", "--k", "1,2,5", "--split", "published", "--out", work / "saebench-probes")
    command("evaluate", run, "--tokens", 4000, "--saebench", work / "results", "--probes", work / "saebench-probes")
    with zipfile.ZipFile(wheel) as package:
        for kind, name in SCHEMAS.items():
            schema = json.loads(package.read(name))
            [path] = (work / "results" / kind).glob("*_eval_results.json")
            result = json.loads(path.read_text())
            jsonschema.Draft202012Validator.check_schema(schema)
            jsonschema.validate(result, schema)
            # A validator that lets everything pass would let these pass, too.
            refused = sum(refuses(schema, result, field) for field in required(schema))
            assert refused == len(required(schema)), (kind, refused, required(schema))
            figures = sum(len(group) for group in result["eval_result_metrics"].values())
            print(f"{kind}: {figures} figures, {len(result['eval_result_details'])} details, as the schema says")


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:6]))
