"""Generates text a letter at a time: a chain of letters, for all who are not done yet."""

NEXT = dict(zip("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza", strict=True))


class Generator:
    def __init__(self):
        self.initialized = False

    def initialize(self, context):
        context.cache = {}
        self.initialized = True

    def handle(self, data, context):
        letters, criteria = [], []
        for index, row in enumerate(data):
            request_id = context.get_request_id(index)
            if request_id not in context.cache:
                body = row["body"]
                context.cache[request_id] = {"letter": body["from"], "left": body["letters"]}
            state = context.cache[request_id]
            letters.append(state["letter"])
            state["letter"] = NEXT[state["letter"]]
            state["left"] -= 1
            criteria.append(self.criterion(context.cache, request_id))
        context.stopping_criteria = criteria
        return letters

    def criterion(self, cache, request_id):
        def is_done(letter):
            done = cache[request_id]["left"] <= 0
            if done:
                del cache[request_id]
            return done

        return is_done
