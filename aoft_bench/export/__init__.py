"""Trained models for other programs: timm's, ONNX and PEFT's formats, a model card, the hub, and predictions."""
