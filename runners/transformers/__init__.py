"""SAM 2.1, EdgeTAM and SAM 3's tracker as the package `transformers` implements them, fed frame by frame.

`runner` streams any of them with bounded memory; `corrections` lists where transformers departs from the official predictors and removes
the difference; `names` reads weights under the official names and under transformers' own. One module per family configures its model.
"""
