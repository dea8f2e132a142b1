#!/usr/bin/env python3
"""Random chat templates, rendered by muga and by Jinja 3.1.6 with the settings of transformers; text and refusal must
agree. Would break: some feature of the language, or two of them together, means something else here.

Needs Jinja, which is no part of the set-up; without it the test is skipped. To have it:

    python3 -m venv DIR && DIR/bin/pip install jinja2==3.1.6
    MUGA_TEST_PYTHON=DIR/bin/python ctest --test-dir build -R differential
    MUGA_PROGRAM=build/muga DIR/bin/python tests/differential/test_template.py [SEED [COUNT]]
"""

import json
import os
import random
import subprocess
import sys
import tempfile

try:
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    if tuple(int(n) for n in jinja2.__version__.split(".")[:3]) < (3, 1, 6):
        raise ImportError(f"Jinja is {jinja2.__version__}, needs 3.1.6")
except ImportError as why:
    other = os.environ.get("MUGA_TEST_PYTHON")
    if other and os.path.realpath(other) != os.path.realpath(sys.executable):
        os.execv(other, [other, *sys.argv])
    print(f"skipped: Jinja 3.1.6 is not installed ({why}); the top of this file says how")
    sys.exit(77)

MUGA = os.environ["MUGA_PROGRAM"]
CONTEXT = {
    "s": "Hello World", "e": "", "n": None, "t": True, "f": False, "i": 7, "z": 0, "neg": -3, "x": 2.5,
    "l": [3, 1, 2], "le": [], "ls": ["b", "A", "c", "a"], "d": {"b": 1, "a": 2, "c": [1, 2]}, "de": {},
    "m": [{"role": "system", "content": "S", "n": 2}, {"role": "user", "content": "U", "n": 1},
          {"role": "assistant", "content": None, "n": 3, "sub": {"k": "v"}}],
    "u": "Ünïcödé ß 中文 தமிழ் 👍🏽", "nest": [[1, 2], [3, [4, 5]]], "ws": "  \t pad \n ",
    "html": "<a href='x'>&\"</a>", "lines": "one\ntwo\r\n\nthree\n", "mix": [1, "a", None, True, 2.0, [1], {"k": 1}]}
R = random.Random()

# ---- Jinja ----


class Generation(jinja2.ext.Extension):
    """{% generation %}, which marks what the model wrote and prints its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("write"), [], [], body).set_lineno(line)

    def write(self, caller):
        return caller()


def to_json(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                            extensions=[Generation, jinja2.ext.loopcontrols])
ENVIRONMENT.filters["tojson"] = to_json


def jinja(source):
    """The text, or None where it is an error."""
    try:
        return ENVIRONMENT.from_string(source).render(**json.loads(json.dumps(CONTEXT)))
    except Exception:  # any kind of it: a template's error has no common class
        return None


# ---- random templates ----

def pick(*choices):
    return R.choice(choices)


def bracket(x):
    return x if x.isidentifier() else f"({x})"


def pool(lines):
    """What stands in the lines, cut at semicolons."""
    return [part.strip() for part in lines.replace("\n", ";").split(";") if part.strip()]


TEXTS = pool("""s; e; u; html; ws; lines; 'abc'; 'A b c'; 'x=1,y=2'; m[0].role; d.keys()|first; '%s'|format(i); '12'
    ' 7 '; s[1:4]; (s|e); '<b>'|safe""")
TEXT_FILTERS = pool("""upper; lower; title; capitalize; trim; string; e; safe; reverse; center(20); indent; urlencode
    indent(2, true); indent(1, blank=true); truncate(5, true); truncate(8)""")
TEXT_METHODS = pool("""upper(); lower(); strip(); lstrip(); rstrip(); title(); capitalize(); swapcase(); casefold()
    zfill(8); expandtabs(); center(9, '*'); ljust(15); rjust(3)""")
NUMBERS = pool("i; z; neg; 1; 2; 3; -1; x; 2.5; -0.5; 1e3; l[0]; l|length; d.b; t; x|int")
SEQUENCES = pool("""l; le; ls; m; nest; mix; [1, 2]; ['a', 'b']; s.split(); s|list; d.values()|list; range(3)|list
    d|dictsort; (1, 2); l[::-1]; m|map(attribute='role')|list""")
SEQUENCE_FILTERS = pool("""sort; unique|list; reverse|list; map('string')|list; map('upper')|list; select|list
    sort(reverse=true); reject('none')|list; select('string')|list; batch(2)|list; slice(2)|list; batch(3, 0)|list
    map('default', 1)|list; selectattr('n')|list; map(attribute='role')|list; rejectattr('content')|list
    groupby('role'); sort(attribute='n'); map('first')|list
    selectattr('role', 'equalto', 'user')|list; unique(true)|list
    map(attribute='n', default=0)|list""")


def text(k):
    if k <= 0 or R.random() < .35:
        return R.choice(TEXTS)
    a, b = bracket(text(k - 1)), text(0)
    any_ = bracket(value(k - 1))
    return pick(
        f"({a} ~ {any_})", f"({a} + {text(k - 1)})", f"({a} * {number(0)})", f"({a} if {any_} else {b})",
        f"({a} or {any_})", f"{a}|{R.choice(TEXT_FILTERS)}", f"{a}|{R.choice(TEXT_FILTERS)}",
        f"{a}.{R.choice(TEXT_METHODS)}", f"{a}|{pick('replace', 'default')}({b}, {any_})",
        f"{a}." + pick(f"strip({b})", f"replace({b}, {b})", f"removeprefix({b})", f"removesuffix({b})"),
        f"{a}[{pick('', '0', '1', '-1', '-3', 'i')}:{pick('', '0', '1', '-1', '3')}{pick('', ':', ':2', ':-1')}]",
        f"{a}[{number(k - 1)}]", f"{any_}|string", f"{bracket(sequence(k - 1))}|join({pick('', b)})",
        f"{b}.join({sequence(k - 1)})",
        f"{any_}|tojson{pick('', '(indent=2)', '(ensure_ascii=true)', '(sort_keys=true)')}",
        pick("'%s|%s'", "'%5s %d'", "'%r %s'", "'%-6s|%.2f'", "'%x %s'") + f" % ({any_}, {value(k - 1)})",
        pick("'{} {}'", "'{1}-{0}'", "'{:>8}|{}'", "'{!r}:{:<4}'", "'{:.2f} {}'", "'{0:05d}{1}'") +
        f".format({any_}, {value(k - 1)})")


def number(k):
    if k <= 0 or R.random() < .35:
        return R.choice(NUMBERS)
    a, s, l = bracket(number(k - 1)), bracket(text(k - 1)), bracket(sequence(k - 1))
    return pick(
        f"({a} {pick('+', '-', '*', '/', '//', '%')} {number(k - 1)})", f"-{a}", f"{a}|abs", f"{l}|sum",
        f"{bracket(value(k - 1))}|{pick('length', 'int', 'int(5)', 'float')}",
        f"{s}.{pick('find', 'rfind', 'count')}({text(0)})", f"{s}|wordcount",
        f"{l}|{pick('min', 'max', 'first', 'last')}", f"{l}.{pick('index', 'count')}({value(0)})",
        f"{a}|round" + pick("", "(1)", "(2)", "(0, 'floor')", "(1, 'ceil')", "(-1)"))


def sequence(k):
    if k <= 0 or R.random() < .35:
        return R.choice(SEQUENCES)
    a = bracket(sequence(k - 1))
    return pick(
        f"({a} + {sequence(k - 1)})", f"[{value(k - 1)}, {value(k - 1)}]", f"({value(k - 1)}, {value(k - 1)})",
        f"({a} * {number(0)})", f"{bracket(value(k - 1))}|list", f"range({number(0)}, {number(0)})|list",
        f"{a}[{pick('', '0', '1', '-1')}:{pick('', '0', '1', '3')}{pick('', ':2', ':-1')}]",
        f"{a}|{R.choice(SEQUENCE_FILTERS)}", f"{a}|{R.choice(SEQUENCE_FILTERS)}",
        f"{bracket(text(k - 1))}." + pick("split()", "rsplit()", f"split({text(0)})", f"rsplit({text(0)}, 1)",
                                          "split(none, 1)", "splitlines(true)", f"partition({text(0)})"),
        f"{bracket(mapping(k - 1))}|{pick('dictsort', 'items|list', 'list', 'dictsort(reverse=true)')}")


def mapping(k):
    if k <= 0 or R.random() < .5:
        return pick("d", "de", "m[0]", "m[2].sub", "{'k': i}", "dict(a=1)")
    return pick(f"{{{text(0)}: {value(k - 1)}, {value(0)}: 1}}", f"dict({mapping(k - 1)}, q={value(k - 1)})")


def verdict(k):
    a, b = bracket(value(k - 1)), value(k - 1)
    return pick(
        f"({a} {pick('==', '!=', '<', '>', '<=', '>=', 'in', 'not in', 'and', 'or')} {b})", f"not {a}",
        f"({a} is {pick('', 'not ')}" + pick("defined", "undefined", "none", "string", "number", "mapping", "sequence",
                                             "iterable", "boolean", "integer", "float", "true", "odd", "upper", "lower",
                                             "callable", "escaped", "divisibleby 2", "eq 1", "gt 1", "in [1, 2]") + ")",
        f"{bracket(text(k - 1))}.{pick('startswith', 'endswith')}({text(0)})",
        f"{bracket(text(k - 1))}.{pick('isdigit', 'isalpha', 'isalnum', 'isspace', 'isupper', 'istitle')}()")


def value(k):
    if k <= 0:
        if R.random() < .2:
            return pick("n", "t", "nope", "d.nope", "range(4)")
        return pick(text, number, sequence, mapping)(0)
    part = pick(text, number, sequence, mapping, verdict)(k)
    return pick(part, part, f"{bracket(mapping(k - 1))}.{pick('a', f'get({text(0)})', 'nope', 'items()')}",
                f"{bracket(part)}|{pick('first', 'last', 'default(1)', 'list', 'length', 'tojson')}")


def tag(inside):
    return pick("{%", "{%", "{%-", "{%+") + f" {inside} " + pick("%}", "%}", "-%}", "+%}")


def statement(k, loop=False):
    def body(in_loop=loop):
        return gap() + "".join(statement(k - 1, in_loop) for _ in range(R.randint(1, 3))) + gap()

    def gap():
        return pick("", "", "\n", "  ", "\n  ", "\t")

    name = pick("v1", "v2", "s")
    if k <= 0 or R.random() < .3:
        return pick(gap() + "{{ " + value(2) + pick(" }}", " -}}"), "text" + gap(), tag(f"set {name} = {value(2)}"),
                    "{{ v1 }}{{ v2 }}{{ s }}", "{# c #}" + gap(), tag(f"set ns.a = {value(1)}") + "{{ ns.a }}")
    return pick(
        lambda: tag(f"if {value(2)}") + body() + pick("", tag("else") + body()) + tag("endif"),
        lambda: tag(f"for {pick('q', 'v1', 'a, b')} in {sequence(1)}{pick('', ' if q is defined')}") + body(True) +
        pick("{{ loop.index }}{{ loop.last }}{{ q }}", "{{ loop.previtem }}{{ loop.nextitem }}",
             "{{ loop.changed(q) }}") +
        pick("", tag("else") + body()) + tag("endfor"),
        lambda: tag(f"if {verdict(1)}") + pick("{% break %}", "{% continue %}") + "{% endif %}" if loop else "x",
        lambda: tag(f"set {name}{pick('', '|upper|trim')}") + body() + tag("endset"),
        lambda: tag(f"macro mm({pick('', 'a', 'a, b=1', 'a, v1', 'a=s')})") + body(False) + "{{ a }}" +
        tag("endmacro") + pick("{{ mm() }}", "{{ mm(1) }}", "{{ mm(a=2) }}", "{{ mm(1, 2) }}"),
        lambda: tag("macro cc()") + "{{ caller() }}" + body(False) + tag("endmacro") + tag("call cc()") + body(False) +
        tag("endcall"),
        lambda: tag(f"filter {pick('upper', 'trim', 'lower|trim')}") + body() + tag("endfilter"),
        lambda: tag(f"with v1={value(1)}, v2=v1") + body() + tag("endwith"),
        lambda: tag("generation") + body(False) + tag("endgeneration"),
        lambda: tag("raw") + gap() + "{{ x }}" + gap() + tag("endraw"))()


def template():
    if R.random() < .5:
        return "|".join("{{ " + value(R.randint(1, 4)) + " }}" for _ in range(R.randint(1, 2)))
    return "{% set ns = namespace(a=1) %}" + "".join(statement(R.randint(1, 3)) for _ in range(R.randint(1, 4)))


# ---- comparison ----

def muga(folder, source):
    path = os.path.join(folder, "t.jinja")
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write(source)
    done = subprocess.run([MUGA, "debug", "template", path], input=json.dumps(CONTEXT) + "\n", capture_output=True,
                          text=True, timeout=60, check=False)
    if done.returncode not in (0, 4):
        sys.exit(f"exit {done.returncode} for {source!r}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


# Python prints addresses of some objects, and has integers of any size.
NOT_COMPARED = ("object at 0x", "built-in method", "OBJECT AT 0X", "<function")


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    R.seed(seed)
    n_wrong = n_errors = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            source = template()
            wanted, got = jinja(source), muga(folder, source)
            if wanted is not None and (len(wanted) > 100000 or any(part in wanted for part in NOT_COMPARED)):
                continue
            n_errors += wanted is None
            if got.get("output") == wanted or "64 bits" in got.get("error", ""):
                continue
            n_wrong += 1
            print(f"{source!r}\n  wanted {wanted!r}\n  got    {got!r}")
    print(f"{count} templates of seed {seed}, {n_errors} of them errors: {n_wrong} differ")
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
