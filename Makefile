# `make book` builds the book into _build/html, `make test` runs everything that can be tested.
# Both install what they need into .venv the first time. PYTHON=python3.12 chooses another Python.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# -W --keep-going -n: every warning is an error, every reference must resolve
BOOKOPTS ?=
# make PINS= installs the newest versions that requirements.txt allows
PINS ?= -c constraints.txt
MATHEMATICS := minidiff/*.py tests/test_equations.py $(wildcard $(patsubst minidiff/%.py,tests/test_%.py,$(wildcard minidiff/*.py)))
# nbval and the other plugins that the unit tests do not need take seconds of each process
UNITS := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/pytest -p xdist -n 2
# a backend chosen outside would keep figures out of the notebooks
unexport MPLBACKEND
# what images of Docker set would have every Python and every kernel compile PyTorch's sources anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book check lint test coverage notebooks pictures site-test pdf slides links pins clean

# One thread a process: on a busy machine two threads spend their time waiting for one another.
book check test coverage: export OMP_NUM_THREADS = 1
book check test coverage: export MKL_NUM_THREADS = 1
book: $(INSTALLED)
	@$(BIN)/python tools/doctor.py
	$(BIN)/jupyter-book build book/ $(BOOKOPTS)

# What to run after every change: lint, types, the rules of the notebooks, and the tests of the
# mathematics, in about a minute.
check: lint
	$(UNITS) -q $(MATHEMATICS)

lint: $(INSTALLED)
	@$(BIN)/python tools/doctor.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/notebooks.py check

test: lint
	$(UNITS)
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 600 \
		-n 2 --dist loadfile notebooks

# Which lines of the library the unit tests reach. Watching them takes half as long again as the tests,
# and fails nothing: CI does it once a week.
coverage: $(INSTALLED)
	$(BIN)/pytest -n 2 --cov --cov-report=term

# Executes every notebook, two at a time and each on one core, and stores its outputs in the normal
# form.
notebooks: $(INSTALLED)
	@$(BIN)/python tools/doctor.py
	$(BIN)/python tools/notebooks.py run -j 2 --record
	$(BIN)/python tools/chapters.py
	$(BIN)/python tools/measured.py
	$(BIN)/python tools/cards.py

# The pictures of README.md and of the first page, drawn by the shipped weights.
pictures: $(INSTALLED)
	$(BIN)/python -m minidiff sample creatures --n 36 --steps 20 --scale 3 \
		--out book/images/creatures.png
	$(BIN)/python -m minidiff sample digits --n 64 --steps 50 --scale 4 --out book/images/digits.png
	$(BIN)/python -m minidiff sample cifar10 --n 16 --sampler dpm++ --spacing logsnr --steps 12 \
		--scale 3 --out book/images/cifar10.png

# Opens every built page in headless Chromium, and every notebook in JupyterLab, if there is one.
site-test: book
	$(BIN)/pytest -m site -n 2 tests/test_site.py tests/test_viewers.py

# The whole book as _build/minidiff.pdf, printed by Chromium.
pdf: book
	$(BIN)/python tools/pdf.py

# Slides for each meeting of the courses of book/routes.md, from the figures that the notebooks hold.
slides: $(INSTALLED)
	$(BIN)/python tools/slides.py

# Asks every address that the book points to; _build/links.txt lists them. Needs the network.
links: book
	$(BIN)/jupyter-book build -q book/ --builder linkcheck; found=$$?; \
		rm -f _build/html/output.json; mv _build/html/output.txt _build/links.txt; exit $$found

# A new pip reads wheels twice as fast. Python compiles what is imported, a tenth of what is there.
$(INSTALLED): pyproject.toml requirements.txt constraints.txt
	@$(PYTHON) tools/check_python.py
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -qq --no-compile -r requirements.txt $(PINS)
	@touch $@

# Writes down the versions that are installed now.
pins:
	@( sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude minidiff \
		| sed 's/+cpu$$//; s/$$/; python_version >= "3.11"/' ) > .venv/pins
	mv .venv/pins constraints.txt

clean:
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .coverage* build *.egg-info
