"""Launch scripts of verl, TRL and OpenRLHF -> commented recipes. Scripts are read, never run; no torch.

1. `shell`, `shell_reader`, `python_script`: what a script sets, without running any of it.
2. `given`: each of its keys by the name `schema/foreign_names.yaml` has for it, and what became of it.
3. `verl`, `trl`, `openrlhf`: what takes more than a table to translate.
4. `draft`, `page`: the recipe, and the lists of what was not carried over.
"""
