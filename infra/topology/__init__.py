"""The production topology on one machine, without containers: `make up` and `make down`.

`site` is where it lives, `programs` runs things in the background, `services/` has one file for
each service, `__main__` is the command.
"""
