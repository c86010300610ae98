"""What a batch, a loss and a metric are: classification and the prediction of the next character."""
