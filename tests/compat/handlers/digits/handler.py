from captum.attr import IntegratedGradients
from torchvision import transforms
from ts.torch_handler.image_classifier import ImageClassifier


class DigitsHandler(ImageClassifier):
    """Pictures of digits in grey, 28 by 28."""

    topk = 3
    image_processing = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.Resize((28, 28)),
            transforms.ToTensor(),
            transforms.Normalize((0.1307,), (0.3081,)),
        ]
    )

    def initialize(self, context):
        super().initialize(context)
        self.ig = IntegratedGradients(self.model)
        self.set_max_result_classes(context.model_yaml_config["handler"]["classes"])

    def postprocess(self, data):
        if self.topk == 1:
            return data.argmax(1).tolist()
        return super().postprocess(data)

    def describe_handle(self):
        return {"classes": self.get_max_result_classes(), "device": str(self.get_device())}
