"""Running untrusted or native work in a child process that can be killed.

`runner` is the parent's side (limits, supervision, errors), `child` the program that runs there,
`sandbox` what the child takes away from itself before it touches a model.
"""
