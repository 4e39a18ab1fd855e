"""The documents keep up with the program: their commands parse, their tables and generated pages are complete."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import typer

from serctl import __version__
from serctl.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = typer.main.get_command(app)


def load_generator():
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GENERATE = load_generator()
COMMANDS = dict(GENERATE.walk_commands(PROGRAM, ("serctl",)))


def commands_of(text):
    """The serctl commands in a page's blocks of code, those after a pipe too."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    pieces = [piece.strip() for line in lines for piece in line.split("|")]
    return [shlex.split(piece, comments=True) for piece in pieces if piece.startswith("serctl ")]


def test_every_command_of_a_page_parses():
    shown = [command for page in PAGES for command in commands_of(page.read_text(encoding="utf-8"))]
    assert len(shown) > 50
    for _, *arguments in shown:
        command = PROGRAM
        while isinstance(command, click.Group):
            context = command.make_context(command.name, arguments)  # a group may put a command before a corpus
            _, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
        with command.make_context(command.name, arguments):
            pass


def values(words, *names):
    return {value for name, value in itertools.pairwise(words) if name in names}


def test_no_command_scores_a_model_on_the_corpus_that_another_trains_it_on():
    texts = [*(page.read_text(encoding="utf-8") for page in PAGES), GENERATE.render_commands()]
    shown = [command[1:] for text in texts for command in commands_of(text)]
    trained = {
        (model, corpus)
        for verb, corpus, *words in shown
        if verb in ("train", "federate")
        for model in values(words, "-o")
    }
    scored = {
        *(
            (model, corpus)
            for verb, corpus, *words in shown
            if verb == "evaluate"
            for model in values(words, "--model")
        ),
        *(
            (model, corpus)
            for verb, *words in shown
            if verb == "compare"
            for model in words
            for corpus in values(words, "--on")
        ),
    }
    assert ("./my-model", "./corpus") in trained
    assert ("./my-model", "./other-corpus") in scored
    assert scored & trained == set()


def test_the_command_reference_has_each_command_with_its_options():
    page = GENERATE.render_commands()
    for path, command in COMMANDS.items():
        section = page.split(f"# {' '.join(path)}\n", 1)[1].split("\n#", 1)[0]
        options = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        assert [name for name in options if name.startswith("-") and name not in section] == [], path


def test_examples_in_help_are_code_in_the_reference():
    page = GENERATE.render_commands()
    assert "Example" not in page
    blocks = re.findall(r"```bash\n(.*?)\n```", page, re.DOTALL)
    assert [line for block in blocks for line in block.splitlines() if "serctl " not in line] == []
    assert sum(len(block.splitlines()) for block in blocks) >= len(COMMANDS) - 3  # groups of commands have none


def test_the_files_to_open_for_each_task_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## For each task the file to open")[1].split("\n## ")[0]
    named = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", table, re.MULTILINE)
    assert len(named) >= 12
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_architecture_names_every_part_of_the_package():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", text.split("## Architecture")[1].split("\n- ")[0]))
    parts = {
        path.stem for path in (ROOT / "serctl").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__", "__main__"} - named == set()


def test_changelog_and_citation_name_the_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE)
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_notebook_runs_and_shows_what_it_says(tmp_path):
    notebook = json.loads((ROOT / "docs/notebooks/python.ipynb").read_text(encoding="utf-8"))
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(outputs)  # written by its last run: the site shows them
    command = [sys.executable, ROOT / "docs/notebook.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
