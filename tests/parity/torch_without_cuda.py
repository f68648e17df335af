"""Makes `import torch` work without NVIDIA's libraries (over 2 GB of wheels that a CPU never runs).

PyPI's Linux wheel of torch links to them, so it fails to load when installed with `pip install --no-deps`.
This builds empty stand-ins into torch/lib with the C compiler: libraries of the right names whose every function
returns an error ("no CUDA device"). Run it with the Python of the environment that has torch. Where torch loads as it
is (macOS, Windows, a CPU wheel), it does nothing. Needs cc, objdump and nm.
"""

import collections
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile

NO_DEVICE = 100  # cudaErrorNoDevice; what other libraries would return is never looked at


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def loads():
    """torch's own words if it does not load, else None. A separate process: a failed import leaves things behind."""
    code = "import torch; torch.cuda.is_available(); torch.ones(2) @ torch.ones(2)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return None if run.returncode == 0 else (run.stderr.strip() or f"exit code {run.returncode}")


def stand_in(function):
    # Those that return a text must return one.
    if re.search(r"Get(Error(String|Name)|StatusString|LastErrorString)$", function):
        return f'const char *{function}(void) {{ return "no CUDA"; }}\n'
    return f"long {function}(void) {{ return {NO_DEVICE}; }}\n"


def main():
    problem = loads()
    if problem is None:
        return
    if not sys.platform.startswith("linux"):
        sys.exit(f"torch does not load: {problem}")
    root = pathlib.Path(importlib.util.find_spec("torch").origin).parent
    lib = root / "lib"
    objects = [*lib.glob("*.so*"), *root.glob("_C*.so")]

    missing, wanted, defined = {}, collections.defaultdict(set), set()
    for path in objects:
        text = output("objdump", "-p", path)
        for name in re.findall(r"NEEDED\s+(\S+)", text):
            # libcuda.so.1 is the driver: torch looks for it only when it wants a device.
            if re.match(r"lib(cu|nv|nccl)", name) and name != "libcuda.so.1" and not (lib / name).exists():
                missing.setdefault(name, set())
        for name, versions in re.findall(r"required from (\S+):\n((?:\s+0x.*\n)+)", text):
            if name in missing:
                missing[name].update(line.split()[-1] for line in versions.splitlines())
        for line in output("nm", "-D", path).splitlines():
            kind, symbol = line.split()[-2:]
            name, _, version = symbol.replace("@@", "@").partition("@")
            if kind in "Uwv":
                wanted[version].add(name)
            else:
                defined.add(name)
    # Libraries without symbol versions cannot be told apart, and need not be: one of them gets all their functions.
    plain = {name for name in wanted[""] - defined if re.match(r"(cu|nv|nccl)", name)}

    for name, versions in missing.items():
        if versions:
            groups = {version: wanted[version] for version in versions}
        else:
            groups, plain = {"": plain}, set()
        body = "".join(stand_in(function) for group in groups.values() for function in sorted(group))
        script = "".join(
            f"{version} {{ global: {' '.join(f'{function};' for function in sorted(group))} }};\n" if group
            else f"{version} {{ }};\n"
            for version, group in groups.items()
        )
        with tempfile.TemporaryDirectory() as folder:
            source, symbols = pathlib.Path(folder, "stub.c"), pathlib.Path(folder, "stub.map")
            source.write_text(body)
            symbols.write_text(script)
            command = ["cc", "-shared", "-fPIC", "-fno-builtin", "-w", f"-Wl,-soname,{name}", "-o", lib / name, source]
            subprocess.run(command + ([f"-Wl,--version-script={symbols}"] if versions else []), check=True)
    problem = loads()
    if problem is not None:
        sys.exit(f"torch does not load with {len(missing)} stand-ins: {problem}")
    print(f"torch loads with stand-ins for {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
