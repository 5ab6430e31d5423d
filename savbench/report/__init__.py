"""The report: results files to one page that answers which model, dtype and board, or to figures for a paper. Never imports torch.

runs        files beside a summary.csv: frames, telemetry, environment
arms        groups rows into arms, names them and computes their figures
charts      figures as plain data, drawn by both renderers
tradeoffs, timing, memory, telemetry, streaming, changes
            figures of each chapter, or the reason why there are none
headline    the answer in words
gallery     pictures of the best and worst objects, from saved masks or overlays
rows_table  all rows, for the sortable table
provenance  circumstances, failures, how to reproduce
content     collects all of the above
page, markdown, figures_plotly, figures_paper
            output formats
"""
