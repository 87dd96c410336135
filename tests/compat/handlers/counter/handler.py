"""Keeps a running sum for each sequence, in a cache of the context."""


class Counter:
    def __init__(self):
        self.initialized = False

    def initialize(self, context):
        context.cache = {}
        self.initialized = True

    def handle(self, data, context):
        answers = []
        for index, row in enumerate(data):
            sequence = context.get_sequence_id(index)
            body = row.get("body")
            if context.get_request_header(index, context.header_key_sequence_start) == "true":
                context.cache[sequence] = 0
            context.cache[sequence] = context.cache.get(sequence, 0) + int(body)
            answers.append(str(context.cache[sequence]))
            if context.get_request_header(index, context.header_key_sequence_end) == "true":
                answers[-1] += " in all"
                del context.cache[sequence]
            context.set_response_header(index, context.header_key_sequence_id, sequence)
        return answers
