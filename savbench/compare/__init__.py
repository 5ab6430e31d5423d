"""Compare results files: load, pair rows, estimate changes with intervals, judge and print them. Needs pandas, never torch.

load        read files and run folders of any supported tool into one table of rows
blocks      group rows that agree in every setting that is not compared
arms        choose what is compared and form the arms
pairing     pair rows between arms, and refuse comparisons that are not valid
summaries   select the rows that count for each figure, and compute each arm's figures
statistics  estimate changes and their intervals by a bootstrap over videos
comparison  run all steps: the command line and the report build on `compare(load_results(paths))`
references  published scores
verdicts    --fail_if
tables, exports  output
"""
