import io
import wave

import torch
from ts.torch_handler.base_handler import BaseHandler


class KeywordHandler(BaseHandler):
    """Sounds in WAV files: a spectrogram, then a small network."""

    def preprocess(self, data):
        spectrograms = []
        for index, row in enumerate(data):
            audio = row.get("audio") or row.get("data") or row.get("body")
            with wave.open(io.BytesIO(audio), "rb") as file:
                rate, count = file.getframerate(), file.getnframes()
                samples = torch.frombuffer(bytearray(file.readframes(count)), dtype=torch.int16)
            self.context.set_response_header(index, "X-Audio-Seconds", f"{count / rate:.3f}")
            window = torch.hann_window(256)
            transformed = torch.stft(samples / 32768, 256, 128, window=window, return_complex=True)
            spectrograms.append(transformed.abs().log1p().mean(dim=1))
        return torch.stack(spectrograms)

    def postprocess(self, data):
        scores = torch.softmax(data, dim=1)
        best = scores.argmax(dim=1).tolist()
        for index in range(len(best)):
            self.context.set_response_content_type(index, "text/csv")
        return [
            f"{self.mapping[str(label)]},{row[label]:.3f}\n" for label, row in zip(best, scores)
        ]
