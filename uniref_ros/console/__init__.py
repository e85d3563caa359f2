"""The node `console`: a page for any browser to see, click, type and talk.

A client of public topics and services alone.
"""
