"""What can be said and drawn of models, data and machines.

`inside`: what a model's layers make of an image, saliency, Grad-CAM, where pools look, filters; `drawings`: pictures of
these. `confusion`, `mistakes`, `sheet`, `augmented`: pictures of a confusion matrix, of the worst mistakes, of a data
set, of augmentation. `lr_finder`: a learning rate. `gradient_check`, `compare`, `bench`, `doctor`: what the commands of
these names do. Import them as in `from gpucnn.report import drawings, inside`.
"""
