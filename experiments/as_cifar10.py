"""Scores runs on pictures of one of CIFAR-10's classes, at any size, in the features of CIFAR-10's classifier.

Principal components see colours and layout; this classifier was trained to see what a picture shows. Prints JSON: by
run the classifier FD of 2,500 samples, scaled down to 32 pixels, to half of the 5,000 training images of the class,
precision and recall, and the share of samples that the classifier takes for the class; under "real" the same of the
other half.
"""

import argparse
import json

import numpy as np
from PIL import Image

from kgan.data import sources
from kgan.errors import UserError
from kgan.evaluation import quality
from kgan.evaluation.classifier import load_classifier
from kgan.runs.generator import load

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the class, such as horse")
    parser.add_argument("run", nargs="+")
    asked = parser.parse_args()
    try:
        data = sources.load("cifar10")
        if asked.name not in data.class_names:
            parser.error(f"no class {asked.name!r}: choose from {', '.join(data.class_names)}")
        generators = {run: load(run) for run in asked.run}
    except UserError as error:
        parser.error(str(error))
    wanted, training = data.class_names.index(asked.name), data.split().training
    network = load_classifier(data.images[training], data.labels[training], len(data.class_names))

    def scores(images: np.ndarray) -> dict[str, float]:
        features, probabilities = network.outputs(images)
        near = quality.prdc(reference, features)
        return {
            "classifier_fd": quality.frechet_distance_from_features(reference, features),
            **{name: near[name] for name in ("precision", "recall")},
            "share": float((probabilities.argmax(axis=1) == wanted).mean()),
        }

    real = data.images[data.labels == wanted]
    reference = network.outputs(real[::2])[0]
    found: dict = {"real": scores(real[1::2]), "features_sha256": network.sha256}
    for run, generator in generators.items():
        samples = (Image.fromarray(image) for image in generator.generate(len(reference), seed=0))
        small = np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BOX)) for image in samples])
        found[run] = scores(small)
    print(json.dumps(found, indent=1))
