"""Genotypes in the forms of other projects, read as data: nothing in them is evaluated. One form a file.

darts          Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), ...), nested by node or not
nasbench201    |nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|
naslib         six operation numbers of NAS-Bench-201, or two cells of (input, operation number)
nni            {"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": [1], ...}
ofa            {"ks": [...], "e": [...], "d": [...]}: told apart, and refused with the reason
"""

from . import darts, nasbench201, naslib, nni, ofa
from .form import FORMS, read_foreign

__all__ = ["FORMS", "darts", "nasbench201", "naslib", "nni", "ofa", "read_foreign"]
