"""A small training configuration that names FSPS."""

FSPS_TRAINING = """
name: fsps
space: {agn: false, zred: [0.5, 1.0]}
simulator: {code: fsps}
bands: [sdss_r0, wfc3_ir_f160w]
sets: {n_train: 96, n_validation: 32, n_test: 64, chunk: 32}
network: {kind: direct, width: 8, depth: 1}
training: {stages: [{epochs: 2, batch_size: 32}]}
"""
