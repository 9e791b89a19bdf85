# The project's commands; `make help` lists them. Everything runs in .venv, which `make venv` makes.

VENV := .venv
PY := $(VENV)/bin/python
SAMPLE := data/sample
RUN := checkpoint/sample
DETECTIONS := detections/sample

.PHONY: help demo describe venv venv-dev test test-fast test-tfod lint format requirements clean

help:  ## Lists the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The environment -----------------------------------------------------------------------------------

# The first Python that TensorFlow and TFOD's packages have wheels for; PYTHON=... chooses another.
PYTHON ?= $(firstword $(foreach p,python3.12 python3.11 python3 python,\
	$(if $(shell $(p) -c 'import sys; print(sys.version_info[:2] in ((3, 11), (3, 12)) or "")' \
		2>/dev/null),$(p))))

venv: $(VENV)/.requirements  ## Makes .venv and installs requirements.txt.

venv-dev: $(VENV)/.requirements-dev

$(VENV)/.requirements: requirements.txt
	@$(or $(PYTHON),python3) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else \
		f"error: this is Python {v[0]}.{v[1]}; Python 3.11 or 3.12 is needed. Install one of them, or name it: make PYTHON=/path/to/python3.12")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

UV := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--custom-compile-command "make requirements"

requirements: venv  ## Compiles requirements*.in to requirements*.txt anew.
	$(PY) -m pip install --quiet uv
	$(UV) requirements.in -o requirements.txt
	$(UV) -c requirements.txt requirements-gpu.in -o requirements-gpu.txt
	$(UV) -c requirements.txt requirements-openvino.in -o requirements-openvino.txt
	$(UV) -c requirements.txt requirements-video.in -o requirements-video.txt
	$(UV) -c requirements.txt requirements-ray.in -o requirements-ray.txt
	$(UV) -c requirements.txt -c requirements-ray.txt requirements-dev.in -o requirements-dev.txt

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

# A run of other records or another config is begun anew; one that was interrupted is gone on with.
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

test-tfod: venv-dev  ## Runs TFOD's own tests under the repairs (long).
	$(PY) tests/tfod_own_tests.py

lint: venv-dev  ## Checks style and format with ruff.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: venv-dev  ## Formats the code.
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## Removes what the demonstration made.
	rm -rf $(SAMPLE) $(RUN) $(DETECTIONS)
