"""Records: rows of any table and documents, asked about by a task of the user's own.

What the parts of such a task mean, and nothing else: how a long text is split and its answers are combined, what an
answer is checked against, how answers are scored and compared.

Invariant: pure, like all of core. Must never: ask a model or read a file.
"""
