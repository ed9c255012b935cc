# One command for each habit. PYTHON names the Python 3.11 that the environment is made from.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := infra/locks/requirements.txt
READY := $(VENV)/.ready
WORKERS := openvino cuda
export SLIPWAY_HOME ?= $(CURDIR)/.slipway
export PREFECT_HOME ?= $(SLIPWAY_HOME)/prefect
export DO_NOT_TRACK = 1

# A folder of wheels named by PIP_FIND_LINKS is used; without one, torch's CPU build is asked for.
UV_WHEELS := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)

.PHONY: help setup demo serve up down deploy images test pictures check lock clean

help:  ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## Create .venv with the locked dependencies

# Bytecode is compiled here, once: isolated children may not write beside the packages they import.
$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep -oE '^uv==[0-9.]+' $(LOCK))"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode $(UV_WHEELS) -r $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q slipway tasks flows
	@touch $@

demo: $(READY)  ## Train two models on real data and release them
	@$(BIN)/python examples/demo.py

serve: $(READY)  ## Prefect's UI with the release form, and a worker, until Ctrl-C
	@$(BIN)/python -m deployments.serve

up: $(READY)  ## The production topology on this machine, in the background; finds its data again
	@$(BIN)/python -m infra.topology up

down: $(READY)  ## End what make up has started; the data stay
	@$(BIN)/python -m infra.topology down

deploy: $(READY)  ## Bring the Prefect server that PREFECT_API_URL names to what deployments/ says
	@$(BIN)/python -m deployments

# Any of the three builds them; docker, which mounts no folder in a build, without PIP_FIND_LINKS.
BUILDER ?= $(firstword $(foreach name,docker podman buildah,$(if $(shell command -v $(name)),$(name))))
BASE ?= docker.io/library/python:3.11-slim-bookworm
IMAGES ?= server worker-cpu worker-openvino worker-cuda s3
WHEELS := $(if $(PIP_FIND_LINKS),--build-arg PIP_FIND_LINKS=$(PIP_FIND_LINKS) \
	--volume $(PIP_FIND_LINKS):$(PIP_FIND_LINKS):ro)

images: $(IMAGES:%=image-%)  ## The containers of docker/, built; BASE= and EXTRAS= choose what from

image-server image-s3: image-%:
	$(BUILDER) build -f docker/$*/Dockerfile --build-arg BASE=$(BASE) -t slipway-$* .

image-worker-%:
	$(BUILDER) build -f docker/worker/Dockerfile --build-arg BASE=$(BASE) --build-arg PROVIDER=$* \
		$(if $(EXTRAS),--build-arg EXTRAS=$(EXTRAS)) $(WHEELS) -t slipway-worker-$* .

test: $(READY)  ## Everything that CI runs: make check, then all tests
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 3 --dist loadscope --durations=15

pictures: $(READY)  ## The README's screenshots, taken anew by the browser test
	SLIPWAY_PICTURES=$(CURDIR)/examples/pictures $(BIN)/python -m pytest tests/e2e/test_browser.py

check: $(READY)  ## ruff, mypy strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks deployments infra
	$(BIN)/lint-imports --no-cache

# The lock holds versions and hashes and no addresses. torch stands in it without a hash, since its
# CPU build has another file than the registry's.
lock: $(READY)  ## Resolve pyproject.toml anew into the lock file
	@rm -f $(LOCK)  # a lock that is there would be preferred, and torch without +cpu brings CUDA
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --group dev --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url \
		$(UV_WHEELS) --output-file $(LOCK)
	$(BIN)/python infra/locks/unhash.py $(LOCK) torch
	$(MAKE) setup

# A worker's environment: one onnxruntime with its provider, no framework. It is made without .venv,
# since the machine that has the device needs nothing else; pip brings uv.
.PHONY: test-gpu $(WORKERS:%=worker-%) $(WORKERS:%=lock-%)

worker-openvino worker-cuda: worker-%:  ## Create .venv-openvino or .venv-cuda for a worker
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet "$$(grep -oE '^uv==[0-9.]+' $(LOCK))"
	$(VENV)-$*/bin/uv pip install --quiet --python $(VENV)-$*/bin/python --compile-bytecode \
		--require-hashes -r infra/locks/$*.txt
	$(VENV)-$*/bin/uv pip install --quiet --python $(VENV)-$*/bin/python --no-deps -e .
	@echo "PREFECT_API_URL=... SLIPWAY_STORE=... $(VENV)-$*/bin/python -m deployments.worker slipway-$*"

test-gpu: worker-cuda  ## The tests that need an NVIDIA GPU, with the CUDA worker's packages
	grep -oE '^(pytest|pytest-timeout|hypothesis)==[^ ]+' $(LOCK) > $(VENV)-cuda/tests.txt
	$(VENV)-cuda/bin/uv pip install --quiet --python $(VENV)-cuda/bin/python -r $(VENV)-cuda/tests.txt
	$(VENV)-cuda/bin/python -m pytest tests/gpu

lock-openvino lock-cuda: lock-%: $(READY)  ## Resolve a worker's dependencies anew
	@rm -f infra/locks/$*.txt
	$(BIN)/uv pip compile --quiet --group pyproject.toml:worker-$* --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url \
		--output-file infra/locks/$*.txt

clean:  ## Remove the environment and everything that the demo made
	rm -rf $(VENV) $(WORKERS:%=$(VENV)-%) .slipway examples/*/out
