# Everything that a newcomer needs: `make demo`, `make test`. Each target sets up .venv when it must, and only then.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
CLIP := bunny

.PHONY: docs gallery setup demo picture test test-all lint format clean
.DEFAULT_GOAL := setup

setup: $(VENV)/ready

# PyTorch first and by itself: TORCH="torch==2.13.0 --index-url …" chooses another build of it.
# `ready` is touched last, so that an interrupted installation is taken up again.
$(VENV)/ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: there is no Python 3.11 or newer. Install one, or name it: make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(TORCH)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[dev]"
	touch $@

demo: setup
	mkdir -p demo
	$(BIN)/vqe enhance samples/lq/$(CLIP).mkv demo/$(CLIP).mkv --overwrite
	$(BIN)/vqe eval --gt samples/truth/$(CLIP).mkv --pred demo/$(CLIP).mkv --lq samples/lq/$(CLIP).mkv \
		--metrics psnr,psnr-y --compare demo/before_after.png --overwrite
	@echo "The enhanced clip, with its sound:       demo/$(CLIP).mkv"
	@echo "Before, after and truth, side by side:   demo/before_after.png"

# The picture at the head of the README.
picture: demo
	cp demo/before_after.png docs/before_after.png

# Before and after of the sample clips, on a page with sliders.
gallery: setup
	mkdir -p demo
	$(BIN)/python tools/gallery.py samples demo/gallery.html
	@echo "Before and after: demo/gallery.html"

# The pages of docs/ as a static site in site/, with their links checked.
docs: setup
	$(BIN)/mkdocs build --strict --quiet
	@echo "The pages: site/index.html"

# The fast core; `test-all` takes minutes more.
test: setup
	$(BIN)/python -m pytest -q

test-all: setup
	$(BIN)/python -m pytest -q -m "slow or not slow"

# The floors of docs/architecture.md are a test, which reads the sources only.
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_floors.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo site build dist .mypy_cache .ruff_cache .pytest_cache
	find vqe_cli tests -name __pycache__ -type d -exec rm -rf {} +
