"""How real weights are run: by torch, or exported to ONNX when a version is built and run without torch.

Nothing is imported here: torch and onnxruntime cost seconds and hundreds of MB, and each process needs one at most.
"""
