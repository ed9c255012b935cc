"""Bundles: the directory that is deployed.

    manifest.json                     written last; the digest of its bytes is the bundle's identity
    variants/<precision>/model.onnx   (+ external data), an MLmodel and its environment
    golden/golden.npz                 inputs with the source model's outputs
    assets/...                        label map, tokenizer, statistics
    evidence/...                      reports for people and for scripts
    provenance.json                   what it was made from and how: an in-toto statement (SLSA)
    sbom.cdx.json                     the packages of the environment that made it (CycloneDX)
    MLmodel                           names the default variant, so that MLflow loads the bundle

`layout` has their names, `bundle` builds one, `stored` reads one in a store, `manifest` is its list
of files, `mlmodel` writes what MLflow reads (without importing MLflow), `provenance` and `sbom`
write what auditors read, `verify` compares a bundle with its manifest, `selftest` runs its
variants.
"""
