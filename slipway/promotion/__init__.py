"""Promotion: on what evidence an alias moves, and the log that decides where it points.

`cases` reads what is known of a version out of its sealed bundle, `policy` weighs it, `records` is
what is written down, `log` keeps that in the store, each record once and chained to the one before,
`moving` lets the registry's alias follow the log, and `pages` shows it to people.
"""
