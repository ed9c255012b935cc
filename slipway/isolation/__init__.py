"""Running untrusted or native work in a child process that can be killed.

`runner` is the parent's side: `starting` makes the child (with `nursery`, which forks what is
light, or another interpreter of `interpreters`), `supervision` watches and ends it. `child` is the
program that runs there, `sandbox` what it takes away from itself before it touches a model.
"""
