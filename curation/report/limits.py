"""What a comparison can see and what it cannot, in sentences."""

from curation.config import Config

__all__ = ["limits_of"]


def limits_of(config: Config) -> list[str]:
    """Sentences for those who have to judge the result."""
    copies = config.copy_descriptors
    return [
        f"Images are compared by their copy descriptor, {copies.model}{', whitened' * copies.whiten}.",
        *_of_similarities(config),
        *([_of_links(config)] if config.references else []),
        *([_of_copies(config)] if config.dedup.self_.enabled else []),
        *_of_model(copies.model),
        "Nothing is said of images that show the same thing in another photograph: another view, another moment, "
        "another exemplar. They are no copies, even where a benchmark would call them the same.",
        "Files that no decoder takes could not be compared. They are listed, and kept or removed as the settings say.",
        "What is not an image to this program is not looked at: texts, captions, further columns of images, and "
        "formats other than JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF. Of an animation the first frame is compared.",
        "No removal is not a proof of absence: it says that no copy was seen at these settings."
        + " The nearest images that were kept are shown so that a person can judge how near they come."
        * bool(config.references),
    ]


def _of_links(config: Config) -> str:
    over_others = ", or where other images lead there" * (config.dedup.grouping == "components")
    if config.dedup.verify == "off":
        rule = f"its {_similarity(config)} to a reference image is above {config.dedup.relative_threshold:g}"
        return f"A dataset image is removed where {rule}{over_others}."
    return f"A dataset image is removed where it is a copy of a reference image{over_others}. {_of_evidence(config)}"


def _of_copies(config: Config) -> str:
    chain = ", each to the next" * (config.dedup.grouping == "components")
    kept = "Of images that are linked, one is kept: the original, as far as evidence tells, else that with most pixels."
    if config.dedup.verify == "off":
        return (
            f"Two dataset images are linked{chain}, where their {_similarity(config)} is above "
            f"{config.dedup.self_threshold:g}, or their perceptual hashes are equal or nearly so. {kept}"
        )
    evidence = f" {_of_evidence(config)}" * (not config.references)
    return f"A dataset image is removed where it is a copy of one that is kept{chain}.{evidence} {kept}"


def _of_evidence(config: Config) -> str:
    dedup = config.dedup
    return (
        f"A copy is an image of equal bytes, or one whose {_similarity(config)} is above {dedup.candidate_above:g} and "
        f"to which the evidence gives a probability of {dedup.probability:g} or more: points of the two images are "
        "matched, also with one of them mirrored, and their pixels compared where one is laid over the other. Without "
        "matched points there is no evidence, so copies that are nearly plain, heavily blurred, or a small part of a "
        "picture, are not seen."
    )


def _similarity(config: Config) -> str:
    return "normalised similarity" if config.dedup.normalise.weight else "cosine similarity"


def _of_similarities(config: Config) -> list[str]:
    settings = config.dedup.normalise
    if not settings.weight:
        return []
    return [
        f"Similarities are normalised: of the cosine similarity of two images, {settings.weight:g} x the mean of their "
        "biases is taken off. An image's bias is its mean similarity to those images of a sample of the dataset that "
        f"it resembles most, from the {settings.first}. to the {settings.last}."
    ]


def _of_model(model: str) -> list[str]:
    if model.startswith("classical/"):
        return [
            "This descriptor looks at the layout of edges and colours on a coarse grid. It sees through re-encoding, "
            "resizing, moderate changes of colour and brightness, and crops that keep 80 % of each side around the "
            "middle.",
            "It does not see copies that are mirrored, turned by more than a few degrees, cropped further or into a "
            "corner, or shown within another image (a screenshot, a collage, a frame).",
        ]
    return [
        "How much editing this descriptor sees through is a matter of how it was trained. Copies that fill only a "
        "small part of a dataset image (a collage, a screenshot), and heavy crops, are the hardest for any descriptor."
    ]
