"""The contract: what scripts, administrators and installed files rely on, as a snapshot.

It holds the JSON of every command in every outcome, all exit codes, all options, the fields of log and
metrics, and the units, crontab entries and manifests of the jobs in jobs.toml. Texts for people (messages,
hints) are no interface, and stand as "<text>".

A difference is a change of interface. If you mean it: run `make contract`, read the diff, commit it with the
change, and add a line to CHANGELOG.md. If you do not mean it, the change is no refactoring.
"""
