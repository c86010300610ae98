"""The page of a run: one file without any access to a network, readable without scripts."""

from .list_page import list_policy, render_list
from .policy import page_policy
from .run_page import render, write_page

__all__ = ["list_policy", "page_policy", "render", "render_list", "write_page"]
