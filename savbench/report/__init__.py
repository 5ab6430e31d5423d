"""The report: results files to one page that answers which model, dtype and board, or to figures for a paper. Never imports torch.

runs        files beside a summary.csv: frames, telemetry, environment
arms        groups rows into arms, names them and computes their figures
charts      figures as plain data
tradeoffs, timing, memory, telemetry, streaming, changes
            figures of each chapter, or the reason why there are none
headline    the answer in words
gallery     pictures of the best and worst objects, from saved masks or overlays
rows_table  all rows, for the sortable table
provenance  circumstances, failures, how to reproduce
content     collects all of the above
figures, labels, svg
            draw the charts with matplotlib: for papers, and for the page at two widths
page, markdown, writing
            output formats
packages    what only a report needs to have installed
"""
