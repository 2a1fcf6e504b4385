"""Batch mode over records instead of logs: what is asked about a row, and what an answer says. Pure, as all of `core`.

    row ──► template ──► item (one question, known by its content) ──► line of a batch file
                                                                          │
    row + answer ──► output row  ◄── combine ◄── checks ◄── response  ◄───┘

A row is one record of an input; a passage is a part of a row that is too long to be asked at once; an item is a
question, whose id is a hash of all that can change its answer, so that it is asked once, wherever it turns up.
"""
