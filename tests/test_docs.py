"""Every command and every example of the README and of the pages in docs runs and says what the page says.

A page's blocks run in order in one empty directory. ``console`` blocks hold commands after ``$`` with
their output; ``python`` blocks are doctests where they have prompts and programs where they have not.
In expected output ``...`` stands for anything, and times and version numbers may differ. Blocks of
commands that set up a machine are marked ``sh``; they may hold nothing but the commands of `SETUP`.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from provenn import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
SHOWN = {"text", "json", "toml", "", "math", "csv"}
SETUP = ("pip install ", "python3 -m venv ", "git clone ", "cd ", "make", "provenn --version", "python bench/")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PROGRESS = re.compile(r"^(preparing|loss \S+ +bound) .* s( of \S+ s)?$")
VARYING = ((re.compile(r"\b\d+\.\d\d s\b"), "# s"), (re.compile(r"\b\d+\.\d+\.\d+\b"), "#.#.#"))


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(match[2].strip(), match[3], text.count("\n", 0, match.start()) + 2) for match in FENCE.finditer(text)]


@pytest.fixture(scope="module")
def _compiled():
    """Compile the kernels before any page is timed by a time limit."""
    with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x,y\n0,0\n1,1\n")))
        assert cli.main(["train", "-", "--target", "y", "--time-limit", "900", "-q"]) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("_compiled")
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    names: dict[str, object] = {}
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.kind == "console":
            run_session(block.text, where)
        elif block.kind == "python":
            run_python(block, names, where)
        elif block.kind == "sh":
            unknown = [line for line in block.text.splitlines() if not line.startswith((*SETUP, "#"))]
            assert not unknown, f"{where}: not a set-up command, mark it console: {unknown}"
        else:
            assert block.kind in SHOWN or block.kind.startswith("{"), f"{where}: unknown kind of block {block.kind!r}"


def run_session(text: str, where: str) -> None:
    for command, want in commands(text):
        got, code = run(command)
        assert code == 0, f"{where}: {command} ended with {code}\n{got}"
        got = "\n".join(line for line in got.splitlines() if not PROGRESS.match(line))
        if not doctest.OutputChecker().check_output(settled(want), settled(got), FLAGS):
            pytest.fail(f"{where}: {command}\n--- the page says\n{want}\n--- the command prints\n{got}")


def commands(text: str) -> list[tuple[str, str]]:
    """Split a session into commands (``\\`` continues a line) and their outputs."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n?", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"a console block begins with $: {parts[0]!r}"
    return [(c.replace("\\\n", " "), want) for c, want in zip(parts[1::2], parts[2::2], strict=True)]


def run(command: str) -> tuple[str, int]:
    """Run a command; a plain call of provenn runs in this process, which saves its start."""
    words = shlex.split(command, comments=True)
    plain = words[0] == "provenn" and not set("|<>&;`$") & set(command)
    if plain:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = cli.main(words[1:])
        return out.getvalue(), code
    shell = f'set -eu; provenn() {{ "{sys.executable}" -m provenn.cli "$@"; }}; {command}'
    done = subprocess.run(
        ["bash", "-c", shell], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    return done.stdout, done.returncode


def settled(text: str) -> str:
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text


def run_python(block: Block, names: dict[str, object], where: str) -> None:
    if ">>>" not in block.text:
        exec(compile(block.text, where, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block.text, names, where, None, block.line)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=report.write, clear_globs=False)
    names.update(test.globs)
    assert runner.failures == 0, report.getvalue()


def command_line() -> dict[str, typer.core.TyperCommand]:
    return dict(get_command(cli.app).commands)


@pytest.mark.parametrize("name", sorted(command_line()))
def test_every_command_and_option_is_documented(name):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## provenn (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert name in sections, f"docs/cli.md has no section '## provenn {name}'"
    mentioned = set(re.findall(r"`(-[-\w]*)", sections[name]))
    options = {option for parameter in command_line()[name].params for option in (*parameter.opts,) if option[0] == "-"}
    options -= {"--help", "-h"}
    assert options <= mentioned, f"docs/cli.md does not mention {sorted(options - mentioned)} of provenn {name}"
    assert mentioned <= options, f"docs/cli.md mentions options that provenn {name} lacks: {mentioned - options}"


def test_the_section_of_an_unknown_command_is_found():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## provenn (\w+)$", page, re.MULTILINE)) == set(command_line())


def test_every_dependency_is_explained():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE))
    assert {re.split(r"[<>=\[]", name)[0] for name in wanted} == explained


def test_every_module_has_its_line_in_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "provenn"
    modules = [str(p.relative_to(source)) for p in sorted(source.rglob("*.py")) if p.name != "__init__.py"]
    missing = [name for name in modules if f"`{name}`" not in page]
    assert not missing, f"docs/architecture.md says nothing about {missing}"
