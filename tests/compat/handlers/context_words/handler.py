from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler


class ContextHandler(BaseHandler):
    """Asks the context for everything it knows, and sets everything it may."""

    def initialize(self, context: Context):
        self.at_start = {
            "ids": context.request_ids,
            "id": context.get_request_id(),
            "name": context.model_name,
            "keys": sorted(context.system_properties),
            "gpu": context.system_properties.get("gpu_id"),
            "batch": context.system_properties.get("batch_size"),
            "server": context.system_properties.get("server_name"),
            "pixels": context.system_properties.get("limit_max_image_pixels"),
            "yaml": context.model_yaml_config,
            "manifest": {
                key: value
                for key, value in context.manifest["model"].items()
                if key not in ("handler",)
            },
        }
        context.cache = {"calls": 0}

    def handle(self, data, context):
        context.cache["calls"] += 1
        answers = []
        for index, row in enumerate(data):
            wish = row.get("body") or {}
            if not isinstance(wish, dict):
                wish = {}
            headers = context.get_all_request_header(index)
            seen = {
                "start": self.at_start,
                "rows": sorted(row),
                "calls": context.cache["calls"],
                "id length": len(context.get_request_id(index)),
                "ids": len(context.request_ids),
                "probe": context.get_request_header(index, "X-Probe"),
                "other case": context.get_request_header(index, "x-probe"),
                "absent": context.get_request_header(index, "absent"),
                "path": headers.get("url_path"),
                "explain": headers.get("explain"),
                "names": sorted(name.lower() for name in headers),
                "part": headers.get("data"),
                "sequence": context.get_sequence_id(index),
                "status": list(context.get_response_status(index)),
                "type": context.get_response_content_type(index),
                "set": dict(context.get_response_headers(index)),
            }
            for name, value in wish.get("headers", {}).items():
                context.set_response_header(index, name, value)
            if "type" in wish:
                context.set_response_content_type(index, wish["type"])
            if "status" in wish:
                context.set_response_status(code=wish["status"], idx=index)
            if "all" in wish:
                context.set_all_response_status(wish["all"], "All Of Them")
            if "add" in wish:
                context.request_processor[index].add_response_property("X-Added", wish["add"])
            answers.append(seen)
        return answers
