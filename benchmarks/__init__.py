"""What the package costs beside its peers: ``python -m benchmarks`` measures it and writes docs/benchmarks.md.

Each module of this package is one benchmark: its docstring says what is measured and how (the first line is its title
on the page), and ``main(argv) -> int`` measures, reports through :class:`benchmarks.support.report.Report`, and returns
0 where every target is met. Helpers live in ``benchmarks.support``; results in ``benchmarks/results``.
"""
