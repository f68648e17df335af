"""Chats as published templates write them: Jinja for Python, set up as transformers does, against this program.

    python chats.py RENDER [TEMPLATES …]

RENDER is the example `chats` of the crate `lm`; TEMPLATES are `.jinja` files, folders of them, or the source
distribution of llama-cpp-python (`pip download --no-deps --no-binary llama-cpp-python llama-cpp-python`), which has
those that llama.cpp keeps. Needs jinja2. Where Python's template raises an error, so must ours, but for one kind that is
counted apart: a loop over None, which Python refuses and Jinja for Rust runs zero times.
"""

import datetime
import json
import pathlib
import subprocess
import sys
import tarfile

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

BOS, EOS = "<BOS>", "<EOS>"
USER, SYSTEM = {"role": "user", "content": "Hi, <you> & \"me\"?\n\nSecond line "}, {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "Yes.\n- a\n- ü 漢字 🙂"}
CALL = {"type": "function", "id": "call00001", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None, True, "x"]}}}

CONVERSATIONS = {
    "one turn": [USER, SAID],
    "two turns": [USER, SAID, {"role": "user", "content": "And?"}, {"role": "assistant", "content": " No. "}],
    "with a system message": [SYSTEM, USER, SAID],
    "ends with the user": [SYSTEM, USER],
    "with thoughts": [USER, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}, USER, SAID],
    "thoughts apart": [USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "thinking": "Hm."}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}]}, SAID],
    "a call": [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]},
               {"role": "tool", "content": "[3.5]", "name": "add", "tool_call_id": "call00001"}, SAID],
    "null content": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
    "the assistant first": [SAID, USER],
    "two users": [USER, USER, SAID],
    "empty": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}],
}


class Generation(Extension):
    """What is between `generation` and `endgeneration` stays as it is."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def environment():
    def stop(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = stop
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return made


def templates(places):
    for place in map(pathlib.Path, places):
        if place.is_dir():
            yield from ((path.stem, path.read_text()) for path in sorted(place.rglob("*.jinja")))
        elif place.suffix == ".jinja":
            yield place.stem, place.read_text()
        else:
            with tarfile.open(place) as archive:
                inside = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(".jinja")]
                for member in sorted(inside, key=lambda m: m.name):
                    yield pathlib.Path(member.name).stem, archive.extractfile(member).read().decode()


def expected(source, messages):
    try:
        template = environment().from_string(source)
        return {"text": template.render(messages=messages, bos_token=BOS, eos_token=EOS, add_generation_prompt=False,
                                        tools=None, documents=None)}
    except Exception as error:  # of many types: the template's own, Python's
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    render, *places = sys.argv[1:]
    jobs = [(name, kind, source, messages) for name, source in templates(places) for kind, messages in CONVERSATIONS.items()]
    lines = "".join(json.dumps(dict(template=source, bos=BOS, eos=EOS, messages=messages)) + "\n"
                    for _, _, source, messages in jobs)
    answers = subprocess.run([render], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(answers) == len(jobs)
    same, refused, loops, wrong = 0, 0, 0, []
    for (name, kind, source, messages), answer in zip(jobs, map(json.loads, answers)):
        theirs = expected(source, messages)
        if "text" in theirs and answer == theirs:
            same += 1
        elif "error" in theirs and "error" in answer:
            refused += 1
        elif theirs.get("error", "").endswith("'NoneType' object is not iterable"):
            loops += 1
        else:
            wrong.append((name, kind, theirs, answer))
    for name, kind, theirs, answer in wrong:
        print(f"DIFFERS {name}, {kind}:\n  Python {json.dumps(theirs, ensure_ascii=False)[:3000]}\n  ours   {json.dumps(answer, ensure_ascii=False)[:3000]}")
    kinds = len({source for _, _, source, _ in jobs})
    print(f"{kinds} templates, {len(jobs)} chats: {same} the same, {refused} refused by both, {loops} loops over None, "
          f"{len(wrong)} different")
    assert kinds and not wrong


if __name__ == "__main__":
    main()
