"""The published nets: one function each, returning a Spec. This module is the registry."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import replace
from typing import Literal

from leadline.core.spec import Decoder, Encoder, Head, Preprocess, Spec
from leadline.core.tasks import CAMVID, CIFAR10, NYU40, task_of
from leadline.core.text import nearest
from leadline.nn import widths

# The ImageNet encoder of `nn.init` expects -1..1. The published FastDepth feeds 0..1; `import_fastdepth`
# states that in the Spec of the authors' weights.
_CENTRED = Preprocess(size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# What torchvision's and MXNet's ImageNet weights expect.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STREET = Preprocess((360, 480), mean=_MEAN, std=_STD)


def fastdepth(skip: Literal["add", "cat", "none"] = "add", depthwise: bool = True) -> Spec:
    """FastDepth before pruning: MobileNet-NNConv5, depthwise, skip-add (Wofk et al. 2019, arXiv 1903.03273, table II).

    Deviates in the head's batch norm, which uses fixed statistics: see docs/papers/fastdepth.md.
    """
    encoder = Encoder("mobilenet_v1", widths.MOBILENET_V1)
    decoder = Decoder("nnconv5", (512, 256, 128, 64, 32), skip, depthwise)
    return Spec("fastdepth", encoder, decoder, Head(batch_statistics=False), _CENTRED)


def fastdepth_pruned() -> Spec:
    """FastDepth with the channel counts that NetAdapt left, as the authors' tuning logs give them."""
    widths = (16, 56, 88, 120, 144, 256, 408, 376, 272, 288, 296, 328, 480, 512)
    decoder = Decoder("nnconv5", (200, 256, 120, 56, 16))
    return Spec("fastdepth_pruned", Encoder("mobilenet_v1", widths), decoder, Head(batch_statistics=False), _CENTRED)


def fastdepth_joint() -> Spec:
    """FastDepth with two last layers: depth, and NYU's 40 classes for each pixel (as arXiv 1707.02432 calls for)."""
    return _renamed("fastdepth_joint", Head("joint", layer="joint", classes=NYU40))


def fastdepth_labels() -> Spec:
    """FastDepth's encoder and decoder for NYU's 40 classes alone: what `fastdepth_joint` is compared with."""
    return _renamed("fastdepth_labels", Head("labels", "score", layer="labels", classes=NYU40))


def fastdepth_decoder(decoder: str = "deconv5dw") -> Spec:
    """FastDepth's encoder with another decoder, by the authors' name: deconv3 to 9, nnconv, blconv or shuffle likewise
    (`dw`: depthwise), upconv, upproj. No skips (table IV).
    """
    encoder = Encoder("mobilenet_v1", widths.MOBILENET_V1)
    return Spec("fastdepth_decoder", encoder, _ladder(decoder), Head(batch_statistics=False), _CENTRED)


def fastdepth_resnet(depth: Literal[18, 34, 50] = 18, decoder: str = "nnconv5dw") -> Spec:
    """FastDepth's decoder after a ResNet, whose features a 1x1 convolution brings to 1024 channels (table III).

    The table's decoder is `nnconv5`, not depthwise.
    """
    if depth not in (18, 34, 50):
        raise ValueError(f"depth is {depth}; 18, 34 or 50 layers are built")
    name, how = f"resnet{depth}", Preprocess((224, 224), mean=_MEAN, std=_STD)
    spec = replace(_ladder(decoder), widths=(1024, *_ladder(decoder).widths))
    return Spec("fastdepth_resnet", Encoder(name, widths.RESNET[name]), spec, Head(batch_statistics=False), how)


def boosting_student() -> Spec:
    """The light net of Hu et al. 2021 (arXiv 2105.06143): MobileNetV2, depth at half of the image's size."""
    return _boosting("boosting_student", Encoder("mobilenet_v2", widths.MOBILENET_V2))


def boosting_teacher() -> Spec:
    """Its teacher: ResNet-34 under the same decoder."""
    return _boosting("boosting_teacher", Encoder("resnet34", widths.RESNET["resnet34"]))


def litedepth(taps: Literal[4, 5] = 4) -> Spec:
    """LiteDepth's student (Li et al. 2022, arXiv 2209.00961): 128x160 inside, depth at a quarter of that.

    With 5 taps the stem's features join too and depth comes at half the size (the authors' `final_test` variant).
    """
    if taps not in (4, 5):
        raise ValueError(f"taps is {taps}; 4 or 5 of the encoder's maps are used")
    decoder = Decoder("fusion", (72, 24, 8, 24) if taps == 4 else (72, 24, 8, 4, 12), "cat", depthwise=False, kernel=3)
    how = Preprocess((128, 160), "corners", "nearest", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Spec("litedepth", Encoder("mobilenet_v3", widths.MOBILENET_V3), decoder, Head(layer="conv"), how)


def monodepth_vgg() -> Spec:
    """monodepth, VGG (Godard et al. 2017, arXiv 1609.03677): learns from stereo pairs. Knows no metres until then."""
    return _monodepth("monodepth_vgg", widths.VGG, (512, 512, 256, 128, 64, 32, 16))


def monodepth_pruned() -> Spec:
    """monodepth after joint filter pruning (Elkerdawy et al. 2019, arXiv 1905.05212): the widths of the shipped net."""
    widths = (14, 20, 27, 33, 40, 68, 94, 108, 168, 209, 157, 192, 25, 21)
    return _monodepth("monodepth_pruned", widths, (17, 155, 101, 41, 27, 15, 6))


def vgg16_bn() -> Spec:
    """VGG16 with batch norm for images of 32x32 (Simonyan and Zisserman 2014), FTWT's: one linear layer behind it."""
    return _classifier("vgg16_bn", widths.VGG_BN["vgg16_bn"])


def vgg19_bn() -> Spec:
    """VGG19 with batch norm for images of 32x32, LayerPrune's."""
    return _classifier("vgg19_bn", widths.VGG_BN["vgg19_bn"])


def resnet56() -> Spec:
    """ResNet-56 of CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2)."""
    return _classifier("resnet56", widths.RESNET_CIFAR)


def mobilenet_v1_32() -> Spec:
    """MobileNetV1 with fewer strides for images of 32x32, FTWT's."""
    return _classifier("mobilenet_v1_32", widths.MOBILENET_V1)


def mobilenet_v2_32() -> Spec:
    """MobileNetV2 with fewer strides for images of 32x32, FTWT's."""
    return _classifier("mobilenet_v2_32", widths.MOBILENET_V2_32)


def _renamed(name: str, head: Head) -> Spec:
    return replace(fastdepth(), name=name, head=head)


def _classifier(name: str, wide: tuple[int, ...]) -> Spec:
    """A net for CIFAR-10, on whose training images mean and standard deviation are taken."""
    head = Head("classes", "score", layer="classes", classes=CIFAR10)
    how = Preprocess((32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
    return Spec(name, Encoder(name, wide), Decoder("last", (), "none"), head, how)


def segnet() -> Spec:
    """SegNet (Badrinarayanan et al. 2015, arXiv 1511.00561) for CamVid."""
    return _streets("segnet", "vgg16_bn", widths.VGG_BN["vgg16_bn"], "segnet", widths.SEGNET_DECODER, _labels(3))


def unet() -> Spec:
    """U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with padding and batch norm."""
    return _streets("unet", "unet", widths.VGG_BN["unet"], "unet", widths.UNET_DECODER, _labels(1))


def fcn8s() -> Spec:
    """FCN-8s (Long et al. 2015, arXiv 1411.4038) on VGG16 with batch norm."""
    return _streets("fcn8s", "vgg16_bn", widths.VGG_BN["vgg16_bn"], "fcn", (4096, 4096, len(CAMVID)), _enlarge(8))


def dilated_front_end() -> Spec:
    """The dilated front end (Yu and Koltun 2016, arXiv 1511.07122) on VGG16 with batch norm."""
    encoder = ("vgg16_dilated", widths.VGG_BN["vgg16_dilated"])
    return _streets("dilated_front_end", *encoder, "front_end", (4096, 4096), _labels(1))


def skipnet_mobilenet() -> Spec:
    """SkipNet on MobileNetV1, FastDepth's encoder (Siam et al. 2018, arXiv 1803.02758)."""
    how = ("mobilenet_v1", widths.MOBILENET_V1, "fcn", (len(CAMVID),), _enlarge(8))
    return replace(_streets("skipnet_mobilenet", *how), preprocess=replace(_STREET, mean=(0.5,) * 3, std=(0.5,) * 3))


def enet() -> Spec:
    """ENet (Paszke et al. 2016, arXiv 1606.02147); see docs/papers/driving-segmentation.md."""
    return _streets("enet", "enet", widths.ENET, "enet", widths.ENET_DECODER, _enlarge(2))


def fast_scnn() -> Spec:
    """Fast-SCNN (Poudel et al. 2019, arXiv 1902.04502)."""
    return _streets("fast_scnn", "fast_scnn", widths.FAST_SCNN, "fast_scnn", widths.FAST_SCNN_DECODER, _labels(1))


def _streets(name: str, encoder: str, wide: tuple[int, ...], decoder: str, own: tuple[int, ...], head: Head) -> Spec:
    how = Decoder(decoder, own, "none", depthwise=False, kernel=3)
    return Spec(name, Encoder(encoder, wide), how, head, _STREET)


def _labels(kernel: int) -> Head:
    return Head("labels", "score", layer="labels", kernel=kernel, resize="corners", classes=CAMVID)


def _enlarge(stride: int) -> Head:
    return Head("labels", "score", layer="enlarge", resize="corners", classes=CAMVID, stride=stride)


def _monodepth(name: str, encoder: tuple[int, ...], upconvs: tuple[int, ...]) -> Spec:
    decoder = Decoder("monodepth", (*upconvs, 512, 512, 256, 128, 64, 32, 16), "cat", depthwise=False, kernel=3)
    head = Head("relative_disparity", "relative_disparity", layer="disparity", kernel=3)
    return Spec(name, Encoder("vgg", encoder), decoder, head, Preprocess((256, 512)))


def _boosting(name: str, encoder: Encoder) -> Spec:
    decoder = Decoder("multiscale", (16, 64, 64), "cat", depthwise=False)
    head = Head(layer="conv", kernel=5, relu=False, resize="corners")
    return Spec(name, encoder, decoder, head, Preprocess((228, 304), mean=_MEAN, std=_STD))


def _ladder(name: str) -> Decoder:
    found = re.fullmatch("(deconv|nnconv|blconv|shuffle)([3579])(dw)?|(upconv|upproj)", name)
    if found is None:
        raise ValueError(
            f"the decoder {name!r} is unknown; known: deconvK, nnconvK, blconvK, shuffleK with K 3, 5, 7 or 9 and 'dw' "
            "behind it for depthwise, upconv, upproj"
        )
    family, kernel, depthwise, plain = found.groups()
    widths = (256, 64, 16, 4, 1) if family == "shuffle" else (512, 256, 128, 64, 32)
    family = "nnconv5" if family == "nnconv" else family  # its name in a Spec, whatever the kernel
    return Decoder(family or plain, widths, "none", bool(depthwise), int(kernel or 5))


def names(task: str | None = "depth") -> list[str]:
    """The nets of the zoo for one task, or of all (None), sorted."""
    known = sorted(
        name
        for name, item in vars(sys.modules[__name__]).items()
        if inspect.isfunction(item) and item.__annotations__.get("return") == "Spec"
        if name != "spec" and not name.startswith("_")
    )
    return [name for name in known if task is None or task_of(_made(name).head.kind).name == task]


def spec(name: str) -> Spec:
    """The Spec of a net of the zoo; an unknown name is a ValueError that names the nearest ones."""
    if name not in names(None):
        raise ValueError(f"the net {name!r} is unknown; {nearest(name, names(None))}")
    return _made(name)


def _made(name: str) -> Spec:
    found: Spec = getattr(sys.modules[__name__], name)()
    return found
