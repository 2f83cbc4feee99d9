# Each target sets up .venv on its first use; ARGS are passed on: make test ARGS="-k distance"
PYTHON ?= python3

.PHONY: demo test lint bench gpu-check clean

demo test lint bench gpu-check:
	@$(PYTHON) bootstrap.py $@ $(ARGS)

clean:
	rm -rf .venv build dist demo .pytest_cache .ruff_cache .hypothesis
