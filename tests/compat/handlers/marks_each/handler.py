"""Statuses, phrases, headers and content types, request by request."""


class MarksEach:
    def initialize(self, context):
        self.failed_early = False
        try:
            context.get_request_header(0, "x")
        except TypeError:
            self.failed_early = True

    def handle(self, data, context):
        answers = []
        for index, row in enumerate(data):
            wanted = row.get("body")
            if "status" in wanted:
                context.set_response_status(wanted["status"], wanted.get("phrase", ""), index)
            for name, value in wanted.get("headers", {}).items():
                context.set_response_header(index, name, value)
            if "type" in wanted:
                context.set_response_content_type(index, wanted["type"])
            answers.append(
                {
                    "status": list(context.get_response_status(index)),
                    "type": context.get_response_content_type(index),
                    "token": context.get_request_header(index, "X-Token"),
                    "lower": context.get_request_header(index, "x-token"),
                    "path": context.get_request_header(index, "url_path"),
                    "explain": context.get_request_header(index, "explain"),
                    "sequence": context.get_sequence_id(index),
                    "body": context.get_request_header(index, "body"),
                    "early": self.failed_early,
                    "same id": context.get_request_id(index) == context.request_ids[index],
                    "beyond": context.get_request_id(index + 1),
                }
            )
        return answers
