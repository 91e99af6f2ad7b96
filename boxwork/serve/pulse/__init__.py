"""The pages of the histograms: live heatmaps, paths between sites, the machine; and the API they are made with."""
