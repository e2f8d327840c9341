"""From a training checkpoint to a model file: ONNX, int8, OpenVINO, calibration, model card."""
