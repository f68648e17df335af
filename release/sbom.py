#!/usr/bin/env python3
"""Software bill of materials of the two programs as CycloneDX 1.5 JSON, from `cargo metadata` alone.

    release/sbom.py TARGET > sbom.cdx.json        e.g. x86_64-unknown-linux-gnu

Lists what is compiled into `sae` and `sae-app` for TARGET: dependencies of tests are left out, those of build scripts are marked.
The same lock file gives the same bytes: there is no time and no random number in it.
"""

import hashlib
import json
import re
import subprocess
import sys
import uuid

PROGRAMS = ["cli", "app"]


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def checksums():
    """SHA-256 of every crate's archive, from Cargo.lock."""
    text = open("Cargo.lock", encoding="utf-8").read()
    entry = re.compile(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]{64})"')
    return {(name, version): checksum for name, version, checksum in entry.findall(text)}


def reached(meta):
    """Packages by id: True where linked into a program, False where only its building needs them. And who needs whom."""
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    linked, edges = {}, {}
    todo = [(p["id"], True) for p in meta["packages"] if p["name"] in PROGRAMS and p["source"] is None]
    while todo:
        package, runs = todo.pop()
        if linked.get(package) in (True, runs):
            continue
        linked[package] = runs or linked.get(package, False)
        for dependency in nodes[package]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if kinds & {None, "build"}:
                edges.setdefault(package, set()).add(dependency["pkg"])
                todo.append((dependency["pkg"], runs and None in kinds))
    return linked, edges


def expression(licence):
    """As SPDX has it: `/` between licences was an older way to write OR."""
    return re.sub(r"\s*/\s*", " OR ", licence)


def component(package, runs, sums):
    name, version = package["name"], package["version"]
    known = sums.get((name, version))
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "scope": "required" if runs else "excluded",
    }
    if package["source"]:
        entry["purl"] = f"pkg:cargo/{name}@{version}"
    if known:
        entry["hashes"] = [{"alg": "SHA-256", "content": known}]
    if package["license"]:
        entry["licenses"] = [{"expression": expression(package["license"])}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def main():
    target = sys.argv[1]
    meta, sums = metadata(target), checksums()
    linked, edges = reached(meta)
    packages = {package["id"]: package for package in meta["packages"]}
    order = sorted(linked, key=lambda p: (packages[p]["name"], packages[p]["version"]))
    version = next(p["version"] for p in meta["packages"] if p["name"] == "cli")
    lock = hashlib.sha256(open("Cargo.lock", "rb").read() + target.encode()).hexdigest()
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(lock[:32])}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "sae-workbench",
                "name": "sae-workbench",
                "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
            "properties": [{"name": "target", "value": target}],
        },
        "components": [component(packages[p], linked[p], sums) for p in order],
        "dependencies": [
            {"ref": "sae-workbench", "dependsOn": [reference(packages[p]) for p in order if packages[p]["name"] in PROGRAMS]}
        ]
        + [
            {"ref": reference(packages[p]), "dependsOn": sorted(reference(packages[d]) for d in edges.get(p, ()))}
            for p in order
        ],
    }
    json.dump(bom, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
