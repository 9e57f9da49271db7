"""What backends for GGUF models share: the catalogue of models, chat templates, and the pieces of a prompt.

A library, not a plugin: it registers nothing, and it needs no engine.
"""
