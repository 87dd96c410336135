import io

import torch
from PIL import Image
from torchvision import transforms
from ts.torch_handler.vision_handler import VisionHandler


class PainterHandler(VisionHandler):
    """A picture in, a picture out."""

    image_processing = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])

    def initialize(self, context):
        super().initialize(context)
        self.format = self.model_yaml_config["handler"]["format"]

    def postprocess(self, data):
        pictures = []
        for index, picture in enumerate((data.clamp(0, 1) * 255).to(torch.uint8)):
            buffer = io.BytesIO()
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, self.format)
            self.context.set_response_content_type(index, f"image/{self.format}")
            pictures.append(buffer.getvalue())
        return pictures
