# The project's commands; `make help` lists them. Everything runs in .venv, which `make venv` makes.

VENV := .venv
PY := $(VENV)/bin/python
SAMPLE := data/sample
RUN := checkpoint/sample
DETECTIONS := detections/sample

.PHONY: help demo describe venv check-venv venv-dev test test-fast test-long test-tfod test-next \
	lint format requirements clean

help:  ## Lists the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The environment -----------------------------------------------------------------------------------

# The first Python that every package has a wheel for; PYTHON=... chooses another.
PYTHON ?= $(or $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,\
	$(if $(shell $(p) -c 'import ensurepip, sys; print((3, 11) <= sys.version_info < (3, 14) or "")' \
		2>/dev/null),$(p)))),python3)
MAKE_VENV = $(PYTHON) requirements/make_venv.py --venv=$(VENV)

venv: $(VENV)/.requirements  ## Makes .venv and installs requirements.txt and requirements/tfod.txt.

venv-dev: $(VENV)/.requirements-dev

# The last is there after an interruption.
$(VENV)/.requirements: requirements.txt requirements/tfod.txt $(wildcard $(VENV)/installing)
	@$(MAKE_VENV)
	@touch $@

check-venv:
	@$(MAKE_VENV) --check

ifneq ($(origin PYTHON),file)  # a Python that was named is compared with that of .venv
$(VENV)/.requirements: | check-venv
endif

$(VENV)/.requirements-dev: requirements/dev.txt $(VENV)/.requirements
	@$(MAKE_VENV) requirements/dev.txt
	@touch $@

UV := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make requirements"
UV_FEWEST := $(UV) --fork-strategy fewest  # one version for all Pythons, where there is one

requirements: venv  ## Compiles requirements.in and requirements/*.in again.
	$(PY) -m pip install --quiet uv
	$(UV_FEWEST) requirements.in -o requirements.txt
	$(UV) --no-deps requirements/tfod.in -o requirements/tfod.txt
	$(UV_FEWEST) -c requirements.txt requirements/gpu.in -o requirements/gpu.txt
	$(UV_FEWEST) -c requirements.txt requirements/openvino.in -o requirements/openvino.txt
	$(UV_FEWEST) -c requirements.txt requirements/onnx.in -o requirements/onnx.txt
	$(UV_FEWEST) -c requirements.txt -c requirements/onnx.txt requirements/run.in -o requirements/run.txt
	$(UV) -c requirements.txt requirements/video.in -o requirements/video.txt
	$(UV_FEWEST) -c requirements.txt requirements/ray.in -o requirements/ray.txt
	$(UV_FEWEST) -c requirements.txt -c requirements/openvino.txt -c requirements/ray.txt \
		-c requirements/video.txt -c requirements/onnx.txt requirements/dev.in -o requirements/dev.txt

# The demonstration: each file below is made by the command of its rule, when something it is made from
# is newer. ---------------------------------------------------------------------------------------

demo: $(DETECTIONS)/detections.json $(RUN)/eval/metrics.txt  ## From drawn sample data to drawn detections.
	@echo
	@cat $(RUN)/eval/metrics.txt
	@echo
	@echo "Detections on test_images/, drawn and as JSON: $(DETECTIONS)/"
	@echo "The training's curves: $(VENV)/bin/tensorboard --logdir=$(RUN)"

$(SAMPLE)/imageclasslist.txt: scripts/make_sample_data.py $(VENV)/.requirements
	$(PY) scripts/make_sample_data.py --output_dir=$(SAMPLE)
	@touch $@

$(SAMPLE)/images/.done: $(SAMPLE)/imageclasslist.txt scripts/convert_images.py
	$(PY) scripts/convert_images.py --input_dir=$(SAMPLE)/ExDark --output_dir=$(SAMPLE)/images
	@touch $@

$(SAMPLE)/annotations.csv: $(SAMPLE)/images/.done scripts/make_annotations_csv.py
	$(PY) scripts/make_annotations_csv.py --annotations=$(SAMPLE)/ExDark_Annno \
		--images_dir=$(SAMPLE)/images --image_list=$(SAMPLE)/imageclasslist.txt \
		--output_dir=$(SAMPLE)
	@touch $@

$(SAMPLE)/.records: $(SAMPLE)/annotations.csv scripts/make_tfrecords.py
	$(PY) scripts/make_tfrecords.py --data_dir=$(SAMPLE) --images_dir=$(SAMPLE)/images \
		--output_dir=$(SAMPLE)
	@touch $@

describe: $(SAMPLE)/describe.html  ## Shows what the sample data holds, in one HTML page.
	@echo "Open it in a browser: $<"

$(SAMPLE)/describe.html: $(SAMPLE)/.records scripts/describe_data.py configs/sample.config
	$(PY) scripts/describe_data.py --data_dir=$(SAMPLE) --config=configs/sample.config --output=$@
	@touch $@

# A run of other records or another config starts over; one that was interrupted is continued.
$(RUN)/.trained: $(SAMPLE)/.records configs/sample.config
	@for input in $^; do test $(RUN)/pipeline.config -nt $$input || rm -rf $(RUN); done
	$(PY) scripts/train.py --pipeline_config_path=configs/sample.config --model_dir=$(RUN) \
		--checkpoint_every_n=100
	@touch $@

$(RUN)/exported/saved_model/saved_model.pb: $(RUN)/.trained
	$(PY) scripts/export_model.py --model_dir=$(RUN)
	@touch $@

$(RUN)/eval/metrics.txt: $(RUN)/exported/saved_model/saved_model.pb
	$(PY) scripts/evaluate.py --model_dir=$(RUN)
	@touch $@

$(DETECTIONS)/detections.json: $(RUN)/exported/saved_model/saved_model.pb $(wildcard test_images/*)
	$(PY) run_inference.py --images_folder_dir=test_images --model_dir=$(RUN) \
		--label_map_path=$(SAMPLE)/label_map.txt --save_detection=True --save_path=$(DETECTIONS)
	@touch $@

# The checks --------------------------------------------------------------------------------------

test: venv-dev  ## Runs all tests, two files at a time.
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: venv-dev  ## Runs the tests that need no TensorFlow.
	$(PY) -m pytest -n auto -m "not slow"

test-long: venv-dev  ## Runs the tests that train until something is learned (EXDARK_ROOT, 15 minutes).
	LONG_TESTS=1 $(PY) -m pytest tests/training/test_overfit.py

test-tfod: venv-dev  ## Runs TFOD's own tests under the repairs (long).
	$(PY) tests/tfod_own_tests.py

# Pre-releases, too. tf-keras asks for its own TensorFlow, and numpy and TensorFlow for what they need.
test-next:  ## Runs the tests with the newest TensorFlow, tf-keras and numpy (.venv-next).
	$(PYTHON) requirements/make_venv.py --venv=.venv-next \
		requirements.txt requirements/tfod.txt requirements/dev.txt
	.venv-next/bin/python -m pip install --quiet --pre --upgrade tensorflow numpy
	.venv-next/bin/python -m pip install --quiet --pre --upgrade --no-deps tf-keras
	.venv-next/bin/python -m pip list | grep -iE '^(tensorflow|tf.keras|numpy) '
	.venv-next/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: venv-dev  ## Checks style and format with ruff.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: venv-dev  ## Formats the code.
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## Removes what the demonstration made.
	rm -rf $(SAMPLE) $(RUN) $(DETECTIONS)
