# `make demo` and `make test` set everything up on a fresh machine; PYTHON=... chooses the Python.
BIN := .venv/bin
READY := .venv/.ready
export PYTHON
# Tests run side by side, each process with a screen of its own.
JOBS ?= 2

.PHONY: help demo test lint pyside clean

help:
	@echo "make demo   open the annotated sample in napari; without a display: a report in demo/"
	@echo "make test   run the tests"
	@echo "make lint   ruff, mypy, import contracts, napari manifest"
	@echo "make clean  remove .venv and the demo folder"

demo: $(READY)
	$(BIN)/napari-unet demo --out demo

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate src/napari_unet/napari.yaml

# One real-window test on the other Qt binding.
pyside: $(READY)
	$(BIN)/python -m pip install -q -e '.[pyside]'
	QT_API=pyside6 PYTEST_QT_API=pyside6 $(BIN)/python -m pytest tests/plugin/test_smoke.py

$(READY): pyproject.toml scripts/setup.sh
	bash scripts/setup.sh
	@touch $@

clean:
	rm -rf .venv demo
