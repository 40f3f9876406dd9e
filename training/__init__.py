"""The recipe of the built-in checkpoint: data, teachers, towers, training, export. Not part of the wheel."""
