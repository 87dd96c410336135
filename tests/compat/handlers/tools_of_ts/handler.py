"""Uses what TorchServe offers to handlers beside its base classes."""

import json

from ts.context import Context
from ts.handler_utils.text_utils import get_tokenizer, ngrams_iterator
from ts.handler_utils.utils import import_class
from ts.metrics.dimension import Dimension
from ts.torch_handler.request_envelope.json import JSONEnvelope
from ts.torch_handler.unit_tests.test_utils.mock_context import MockContext
from ts.utils.util import (
    CLEANUP_REGEX,
    check_valid_pt2_backend,
    list_classes_from_module,
    load_label_mapping,
    map_class_to_label,
)


class ToolsOfTs:
    def initialize(self, context: Context):
        self.mapping = load_label_mapping("labels.json")
        self.tokenize = get_tokenizer("basic_english")

    def handle(self, data, context):
        text = data[0]["body"]
        tokens = self.tokenize(CLEANUP_REGEX.sub("", text))
        mock = MockContext(model_pt_file=None, model_dir=".", model_name="mock")
        enveloped = JSONEnvelope(lambda rows, context: [row * 2 for row in rows])
        return [
            {
                "tokens": tokens,
                "ngrams": list(ngrams_iterator(tokens, 2)),
                "labels": map_class_to_label([[0.75, 0.25]], self.mapping),
                "backends": [check_valid_pt2_backend(name) for name in ("inductor", "abacus")],
                "class": import_class("OrderedDict", "collections").__name__,
                "classes": [each.__name__ for each in list_classes_from_module(json.decoder)],
                "dimension": str(Dimension("Level", "Model")),
                "mock": [mock.manifest, mock.system_properties, mock.model_yaml_config],
                "header": mock.get_request_header(0, "explain"),
                "envelope": enveloped.handle([{"body": {"instances": [1, 2]}}], mock),
            }
        ]
