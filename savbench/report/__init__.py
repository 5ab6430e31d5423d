"""The report: results files to one page that answers which model, dtype and board, or to figures for a paper. Never imports torch.

runs        what lies beside a summary.csv: frames, telemetry, environment
arms        which rows make up an arm, what it is called, its figures
charts      figures as plain data, which both renderers draw
tradeoffs, timing, memory, telemetry, streaming, changes
            what each chapter shows, and why where it cannot
headline    the answer in words
gallery     the best and the worst objects, drawn from saved masks or taken from overlays
rows_table  every row, for the sortable table
provenance  circumstances, failures, how to reproduce
content     all of it together
page, markdown, figures_plotly, figures_paper
            output
"""
