"""Networks as files: weights out and in (npz, safetensors, PyTorch state dicts), graphs out (ONNX). Knows no broker.

Open first: `weights.py` (what is exchanged), `fitting.py` (which gate begins with what of a file).
"""
