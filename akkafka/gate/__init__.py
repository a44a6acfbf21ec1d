"""A gate: a layer (or block of layers) and its optimizer, as a process. `core` decides, `shell` acts."""
