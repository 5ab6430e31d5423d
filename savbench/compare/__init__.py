"""Compare results files: load, pair rows, estimate changes with intervals, judge and print them. Needs pandas, never torch.

load        files and run folders to one table of rows, whichever tool of the field wrote them
blocks      rows that agree in every setting
arms        what is compared, and the arms that come of it
pairing     which rows are set against which, and which comparisons are refused
summaries   which rows count for what, and the figures of each arm
statistics  changes and their intervals by a bootstrap over videos
comparison  all of it together: `compare(load_results(paths))` is what the command line and the report build on
references  published scores
verdicts    --fail_if
tables, exports  output
"""
