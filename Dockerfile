# For a machine with an NVIDIA driver and Docker's nvidia toolkit; CUDA's libraries come from PyPI.
#
#     docker build -t lowlight .
#     docker run --rm --gpus all -v "$PWD/data:/lowlight/data" \
#         -v "$PWD/checkpoint:/lowlight/checkpoint" lowlight python scripts/train.py \
#         --pipeline_config_path=configs/ssd_efficientdet_d1_640x640_coco17_tpu-8.config \
#         --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8
FROM python:3.13-slim
WORKDIR /lowlight
COPY requirements requirements
RUN pip install --no-cache-dir --require-hashes -r requirements/gpu.txt \
    && pip install --no-cache-dir --require-hashes --no-deps -r requirements/tfod.txt
COPY . .
