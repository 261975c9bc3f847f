# Shortcuts for the commands in CONTRIBUTING.md, for an active virtual environment.

# List the shortcuts
default:
    @"{{ just_executable() }}" --list --unsorted

# Check formatting, lint, types and import contracts
check:
    ruff format --check --diff .
    ruff check .
    mypy
    lint-imports

# Format the code
format:
    ruff format .

# Run the checks and the tests, or what the arguments select: just test tests/pipeline/test_clip.py
test *arguments:
    python -m pytest {{ arguments }}

# Build the documentation site
docs:
    sphinx-build --fail-on-warning --builder html docs site
