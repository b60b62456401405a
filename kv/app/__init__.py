"""Programs on top of the store: the command line, the demo, the benches.

Here:   what talks to a person.
Never:  what a library needs: `import kv` does not import this.
"""
